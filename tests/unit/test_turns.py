"""The turns of a session, as the next task is told them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hyperguild.domain.messages import Message
from hyperguild.domain.records import RunResult, StoredRun
from hyperguild.requests import turns_of


def stored(task: str | None, output: str | None, **fields: Any) -> StoredRun:
    result = RunResult(
        run_id="r",
        session_id="s",
        skill="plain",
        chain="default",
        status=fields.pop("status", "accepted"),
        output=output,
    )
    return StoredRun(result=result, task=task, created_at=datetime(2026, 1, 2, tzinfo=UTC), **fields)


def test_turns_are_the_accepted_runs_that_are_stored_and_were_asked_for_by_the_caller() -> None:
    runs = [
        stored("one", "first"),
        stored("two", None, status="exhausted"),
        stored(None, None),
        stored("a part of three", "done", parent_run_id="r3"),
        stored("three", "third"),
    ]
    assert turns_of(runs) == (
        Message("user", "one"),
        Message("assistant", "first"),
        Message("user", "three"),
        Message("assistant", "third"),
    )
