"""The contract of `ports.SessionStore` for runs that go on, held against real SQLite files."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import RESUMABLE, Attempt, RunResult, RunStart, Step, StoredRun
from hyperguild.domain.secrets import LITERAL, Scrubber
from hyperguild.domain.usage import Usage
from hyperguild.errors import StoreError, UsageError
from hyperguild.ports import SessionStore

NOW = datetime.now(UTC)
RUN = RunStart(
    run_id="run-1111",
    session_id="session-1111",
    skill="review",
    chain="code",
    task="do",
    options={"tools": {"workdir": "/w"}, "prompt": {"system": "made-up-cloud-key-0123456789"}},
    created_at=NOW,
    lease_expires_at=NOW + timedelta(seconds=15),
)
ATTEMPT = Attempt(
    attempt_id="a",
    position=0,
    model="phi4",
    tier="local",
    endpoint="swap",
    verdict="escalate",
    usage=Usage(input_tokens=10, output_tokens=2),
    cost_usd=0.5,
)


def ended(status: Any, **fields: Any) -> RunResult:
    return RunResult(
        run_id=RUN.run_id, session_id=RUN.session_id, skill="review", chain="code", status=status, **fields
    )


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=15)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


async def opened(path: Path, content: Any = "full") -> SessionStore:
    scrubber = Scrubber()
    scrubber.learn("CLOUD_KEY", "made-up-cloud-key-0123456789")
    return await SqliteSessionStore.open(
        path, scrubber=scrubber, log=LogPolicy(content=content), clock=SystemClock()
    )


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SessionStore]:
    made = await opened(path)
    await made.start_run(RUN)
    yield made
    await made.aclose()


async def stored(store: SessionStore) -> StoredRun:
    run = await store.run(RUN.run_id)
    assert run is not None
    return run


@pytest.mark.parametrize("status", sorted(RESUMABLE))
async def test_h2_a_run_that_has_not_come_to_its_end_goes_on(store: SessionStore, status: Any) -> None:
    await store.record_attempt(RUN.run_id, ATTEMPT, ())
    waiting = ({"id": "c", "name": "ask", "arguments": {}},)
    paused = ended(status, usage=Usage(input_tokens=99), cost_usd=9.0, pending_tool_calls=waiting)
    await store.finish_run(paused, NOW)
    assert (await stored(store)).result.pending_tool_calls == waiting
    await store.resume_run(RUN.run_id, later())
    run = await stored(store)
    assert (run.result.status, run.finished_at, run.result.pending_tool_calls) == ("running", None, ())
    # What a paused attempt has used is counted when it ends: once.
    assert (run.result.usage, run.result.cost_usd) == (ATTEMPT.usage, 0.5)
    await store.record_attempt(RUN.run_id, ATTEMPT.model_copy(update={"attempt_id": "b"}), ())
    assert (await stored(store)).result.cost_usd == 1.0


@pytest.mark.parametrize("status", ["accepted", "exhausted", "best_effort", "budget_exceeded"])
async def test_h2_a_run_that_has_ended_does_not(store: SessionStore, status: Any) -> None:
    await store.finish_run(ended(status), NOW)
    with pytest.raises(UsageError, match=f"has ended: {status}"):
        await store.resume_run(RUN.run_id, later())
    assert (await stored(store)).result.status == status


async def test_h2_a_run_that_is_not_there_does_not(store: SessionStore) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        await store.resume_run("run-2222", later())


async def test_h2_a_run_goes_on_once_however_many_ask_at_once(path: Path, store: SessionStore) -> None:
    await store.finish_run(ended("cancelled"), NOW)
    other = await opened(path)
    try:
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(refusal_of(one)) for one in (store, other)]
    finally:
        await other.aclose()
    refusals = [one.result() for one in tries]
    assert sorted(refusals, key=str) == sorted(
        [None, f"the run {RUN.run_id} is under way in another process"], key=str
    )


async def refusal_of(store: SessionStore) -> str | None:
    try:
        await store.resume_run(RUN.run_id, later())
    except UsageError as error:
        return error.message
    return None


CONTINUES = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.secrets import Scrubber

async def main():
    store = await SqliteSessionStore.open(
        Path(sys.argv[1]), scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock())
    await store.resume_run("run-1111", datetime.now(UTC) + timedelta(hours=1))
    print("resumed", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_h2_a_run_that_goes_on_is_its_new_process_s_until_that_dies(
    path: Path, store: SessionStore
) -> None:
    await store.finish_run(ended("cancelled"), NOW)
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", CONTINUES, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "resumed\n"
        assert await refusal_of(store) == f"the run {RUN.run_id} is under way in another process"
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)
    assert (await stored(store)).result.status == "interrupted"  # at once, long before its lease runs out
    assert await refusal_of(store) is None
    assert (await stored(store)).result.status == "running"


async def test_h2_a_process_that_had_stopped_leaves_the_run_to_the_one_that_went_on(
    path: Path, store: SessionStore
) -> None:
    """Else both would execute its tools, and the log would have the steps of both."""
    await store.renew_lease(RUN.run_id, NOW - timedelta(seconds=1))
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", CONTINUES, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "resumed\n"
        await store.renew_lease(RUN.run_id, NOW - timedelta(days=1))
        step = Step(step_id="s", attempt_id="a", position=0, messages=(), created_at=NOW)
        for write in (
            store.record_step(RUN.run_id, step),
            store.record_attempt(RUN.run_id, ATTEMPT, ()),
            store.finish_run(ended("cancelled"), NOW),
        ):
            with pytest.raises(StoreError, match="goes on in another process"):
                await write
        run = await stored(store)
        assert (run.result.status, run.steps, run.result.attempts) == ("running", (), ())
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)


async def test_h2_options_are_kept_with_placeholders_for_keys(store: SessionStore) -> None:
    assert (await stored(store)).options == {
        "tools": {"workdir": "/w"},
        "prompt": {"system": "[secret:CLOUD_KEY]"},
    }


@pytest.mark.parametrize("content", ["metadata", "none"])
async def test_h2_options_are_content(path: Path, content: Any) -> None:
    store = await opened(path, content)
    await store.start_run(RUN)
    run = await stored(store)
    await store.aclose()
    assert (run.options, run.task) == ({}, None)


async def test_h2_what_looked_like_a_placeholder_is_told_apart(store: SessionStore) -> None:
    said = {"role": "user", "content": "[secret:CLOUD_KEY] is not made-up-cloud-key-0123456789"}
    plain = {"role": "user", "content": "made-up-cloud-key-0123456789"}
    step = Step(step_id="s", attempt_id="a", position=0, messages=(said, plain), created_at=NOW)
    await store.record_step(RUN.run_id, step)
    spelled, scrubbed = (await stored(store)).steps[0].messages
    assert spelled[LITERAL] == ["CLOUD_KEY"]
    assert scrubbed == {"role": "user", "content": "[secret:CLOUD_KEY]"}
