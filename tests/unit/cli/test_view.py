"""What stderr says of a walk where it is no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from builders import attempt

from hyperguild.cli.view import PlainView
from hyperguild.domain.events import AttemptFinished, AttemptStarted, Event, LoadWaiting, Probed
from hyperguild.domain.records import ErrorInfo

STARTED = {"position": 0, "model": "phi4", "tier": "local", "endpoint": "swap"}


def event(kind: Any, **fields: Any) -> Event:
    made: Event = kind(seq=1, time=datetime(2026, 1, 1, tzinfo=UTC), session_id="s", run_id="r", **fields)
    return made


def lines(capsys: pytest.CaptureFixture[str], events: Sequence[Event]) -> list[str]:
    with PlainView() as view:
        for one in events:
            view.emit(one)
    out, err = capsys.readouterr()
    assert out == ""
    return str(err).splitlines()


@pytest.mark.parametrize("state", ["cold", "starting"])
def test_a_tier_that_is_skipped_does_not_load(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        event(AttemptStarted, **STARTED),
        event(Probed, position=0, model="phi4", warm_state=state),
        event(AttemptFinished, attempt=attempt(0, "skip", feedback=f"phi4 is {state}")),
    ]
    name = attempt(0).model
    assert lines(capsys, told) == [
        "phi4 (local) …",
        f"phi4: {state}",
        f"{name}: skipped: cold: phi4 is {state}",
    ]


def test_a_load_is_told_when_it_begins_and_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        event(Probed, position=0, model="phi4", warm_state="cold"),
        event(LoadWaiting, model="phi4", waited_ms=0),
        event(LoadWaiting, model="phi4", waited_ms=1000),
        event(LoadWaiting, model="phi4", waited_ms=2000, loaded=True),
        event(LoadWaiting, model="qwen", role="judge", waited_ms=0),
        event(LoadWaiting, model="qwen", role="judge", waited_ms=300, loaded=True),
    ]
    assert lines(capsys, told) == [
        "phi4: cold",
        "phi4: loading",
        "phi4: loaded in 2.0 s",
        "qwen: loading",
        "qwen: loaded in 300 ms",
    ]


def test_the_load_that_follows_a_failed_one_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    load = event(LoadWaiting, model="phi4", waited_ms=0)
    failed = attempt(0, "error", error=ErrorInfo(kind="server", message="no memory"))
    told = lines(capsys, [load, event(AttemptFinished, attempt=failed), load])
    assert (told[0], told[-1]) == ("phi4: loading", "phi4: loading")
