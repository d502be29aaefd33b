"""C12: events of several runs in one stream, as the views and sinks of the command line take them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.delegated import call_in_words
from hyperguild.cli.diagnosis import unknown_skills
from hyperguild.cli.progress import Progress
from hyperguild.cli.sinks import JsonLines, LastResult
from hyperguild.cli.view import LiveView, PlainView
from hyperguild.config.loader import load_config_text
from hyperguild.domain.events import (
    AnswerDelta,
    AttemptFinished,
    AttemptStarted,
    Event,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Warned,
)
from hyperguild.domain.records import Attempt, RunResult

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def event(kind: Any, run: str = "own", **fields: Any) -> Event:
    made: Event = kind(seq=1, time=NOW, session_id="s", run_id=run, **fields)
    return made


def attempt(model: str) -> Attempt:
    return Attempt(
        attempt_id=f"{model}-1", position=0, model=model, tier="local", endpoint="one", verdict="accept"
    )


def began(run: str, parent: str | None, model: str) -> list[Event]:
    return [
        event(RunStarted, run, skill="work", chain="c", parent_run_id=parent),
        event(AttemptStarted, run, position=0, model=model, tier="local", endpoint="one"),
    ]


def ended(run: str, model: str) -> list[Event]:
    result = RunResult(
        run_id=run, session_id="s", skill="work", chain="c", status="accepted", output=run, model=model
    )
    return [event(AttemptFinished, run, attempt=attempt(model)), event(RunFinished, run, result=result)]


CALL = event(ToolCalled, call_id="1", name="delegate", arguments={"skill": "work", "tasks": ["a", "b"]})
BACK = event(ToolReturned, call_id="1", name="delegate", is_error=False, text="[]", chars=2)
STREAM: list[Event] = [
    *began("own", None, "boss"),
    CALL,
    *began("one", "own", "hand"),
    *began("two", "own", "hand"),
    event(AnswerDelta, "two", text="interleaved"),
    event(ToolCalled, "one", call_id="2", name="shell", arguments={"command": "make test"}),
    event(Warned, "two", message="mind the gap"),
    *ended("two", "hand"),
    *ended("one", "hand"),
    BACK,
    *ended("own", "boss"),
]


def test_c12_one_row_tells_how_far_the_delegated_runs_are() -> None:
    progress, doing = Progress(), []
    for one in STREAM:
        progress.apply(one)
        assert len(progress.rows) <= 1
        doing += [row.doing for row in progress.rows if row.attempt is None]
    assert list(dict.fromkeys(doing)) == [
        "asked",
        "delegates 2 tasks to work",
        "delegates 2 tasks to work, 0 done",
        "delegates 2 tasks to work, 1 done",
        "delegates 2 tasks to work, 2 done",
    ]
    (row,) = progress.rows
    assert row.attempt is not None
    assert row.attempt.model == "boss"


def test_c12_plain_lines_tell_what_delegated_runs_do_and_come_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainView() as view:
        for one in STREAM:
            view.emit(one)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:5] == [
        "boss (local) …",
        "delegates 2 tasks to work",
        "  shell make test",
        "warning: mind the gap",
        "  work 1/2: accepted: hand (None) · 0 attempts · 0 ms · $0 · run two",
    ]
    assert lines[5].startswith("  work 2/2: accepted")
    assert [line.startswith("accepted") for line in lines].count(True) == 1


def test_c12_the_live_view_goes_on_when_a_delegated_run_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        for one in STREAM[:-1]:
            view.emit(one)
        assert "accepted: " not in capsys.readouterr().err.replace("✓", "")
        view.emit(STREAM[-1])
    assert "run own" in capsys.readouterr().err


def test_c12_the_result_that_is_kept_is_that_of_the_parent() -> None:
    for stream in (STREAM, STREAM[:-1]):
        last = LastResult()
        for one in stream:
            last.emit(one)
        assert (last.result.run_id if last.result else None) == ("own" if stream is STREAM else None)


@pytest.mark.parametrize(("place", "stopped"), [(-4, 1), (-1, 0)])
def test_c12_a_reader_that_leaves_as_a_delegated_run_ends_stops_the_run(place: int, stopped: int) -> None:
    stops: list[int] = []
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        sink = JsonLines(stream, lambda: stops.append(1))
        sink.emit(STREAM[0])
        os.close(reader)
        assert isinstance(STREAM[place], RunFinished)
        sink.emit(STREAM[place])
        assert (len(stops), type(sink.failure)) == (stopped, BrokenPipeError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"skill": "work", "tasks": ["a"]}, "delegates 1 task to work"),
        ({"skill": "work", "tasks": "a"}, "delegates 0 tasks to work"),
        (None, "delegates 0 tasks to ?"),
    ],
)
def test_c12_a_call_in_words(arguments: dict[str, Any] | None, words: str) -> None:
    assert call_in_words(arguments) == words


def test_c12_doctor_warns_of_delegates_that_are_no_skills(tmp_path: Path) -> None:
    text = """\
version: 1
endpoints: {one: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
models: {boss: {endpoint: one}}
chains:
  lead: {tiers: [{model: boss, verify: false, agent: {delegate: [work, wrok]}}]}
skills: {wrok: {chain: lead}}
"""
    configuration = load_config_text(text, tmp_path / "chains.yaml", {})
    (finding,) = unknown_skills(configuration, ["lead", "work"])
    assert (finding.level, finding.remedy) == ("warning", "did you mean work?")
    assert "names the skill wrok" in finding.message
