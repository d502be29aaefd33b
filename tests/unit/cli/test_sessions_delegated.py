"""C12 in the session log's listings: delegated runs stand below the run that delegated them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.main import run_command_line
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, ModelUse, RunResult, RunStart, RunStatus
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage

Said = Callable[..., str]
NOW = datetime.now(UTC).replace(microsecond=0)
PARENT, FIRST, SECOND, OTHER = (f"0000-{name}" for name in ("parent", "first1", "second", "other1"))
ASIDE = ModelUse(model="hand", purpose="delegate", usage=Usage(input_tokens=10), cost_usd=0.25)


def ended(
    run_id: str, status: RunStatus, answer: str, *, skill: str, asides: tuple[ModelUse, ...]
) -> RunResult:
    attempt = Attempt(
        attempt_id=f"{run_id}-a",
        position=0,
        model="hand",
        tier="local",
        endpoint="one",
        verdict="accept" if status == "accepted" else "escalate",
        answer=answer,
        asides=asides,
    )
    done = status == "accepted"
    return RunResult(
        run_id=run_id,
        session_id="0000-session",
        skill=skill,
        chain=skill,
        status=status,
        output=answer if done else None,
        model="hand" if done else None,
        tier="local" if done else None,
        cost_usd=0.25,
        usage=Usage(input_tokens=10),
        attempts=(attempt,),
    )


async def write(path: Path) -> None:
    """A run that delegated two, of which one failed; then another run of the session."""
    store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock())
    runs = [
        (ended(PARENT, "accepted", "all of it", skill="lead", asides=(ASIDE,)), "the whole", None),
        (ended(FIRST, "accepted", "a part", skill="work", asides=()), "one part", PARENT),
        (ended(SECOND, "exhausted", "refused", skill="work", asides=()), "another part", PARENT),
        (ended(OTHER, "accepted", "more", skill="lead", asides=()), "go on", None),
    ]
    for number, (result, task, parent) in enumerate(runs):
        began = NOW + timedelta(seconds=number)
        fields = result.model_dump(include={"run_id", "session_id", "skill", "chain"})
        start = RunStart(**fields, task=task, parent_run_id=parent, created_at=began, lease_expires_at=began)
        await store.start_run(start)
    for result, _, _ in runs:
        await store.record_attempt(result.run_id, result.attempts[0], ())
        await store.finish_run(result, NOW + timedelta(seconds=9))
    await store.aclose()


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.delenv("COLUMNS", raising=False)
    asyncio.run(write(tmp_path / "sessions.db"))

    def run(*arguments: str) -> str:
        assert run_command_line(["sessions", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_c12_lists_count_runs_and_money_once(said: Said) -> None:
    (listed,) = json.loads(said("list", "--json"))
    assert (listed["runs"], listed["statuses"]) == (2, ["accepted", "accepted"])
    assert (listed["skills"], listed["cost_usd"]) == (["lead"], 0.5)
    assert "accepted ×2" in said("list")


def test_c12_show_has_delegated_runs_below_their_parent(said: Said) -> None:
    page = said("show").splitlines()
    heads = [line for line in page if line.startswith(("lead ·", "work ·"))]
    assert len(heads) == 2
    assert "2 runs, oldest first" in page[1]
    below = [page.index(line) for line in page if line.startswith("    delegated: work · chain work · ")]
    assert len(below) == 2
    assert (
        page.index(heads[0]) < below[0] < below[1] < max(i for i, line in enumerate(page) if line == heads[1])
    )
    assert "accepted: hand (local)" in page[below[0]]
    assert "exhausted" in page[below[1]]
    text = "\n".join(page)
    for part in ("one part", "a part", "another part", "no tier gave an answer"):
        assert part in text


@pytest.mark.parametrize(
    ("reference", "ids"),
    [
        ("last", [PARENT, FIRST, SECOND, OTHER]),
        (PARENT, [PARENT, FIRST, SECOND]),
        (SECOND, [SECOND]),
        (OTHER, [OTHER]),
    ],
)
def test_c12_a_run_brings_those_that_it_delegated(said: Said, reference: str, ids: list[str]) -> None:
    shown = json.loads(said("show", reference, "--json"))["runs"]
    assert [run["run_id"] for run in shown] == ids
    lines = [json.loads(line) for line in said("export", reference).splitlines()]
    assert [line["run_id"] for line in lines] == ids


def test_c12_a_delegated_run_is_shown_whole_by_its_own_id(said: Said) -> None:
    page = said("show", FIRST)
    assert page.startswith("work · chain work · accepted")
    assert f"delegated by {PARENT[-8:]}" in page
    assert "1 of 2 of its session" in said("show", PARENT)


def test_c12_the_newest_attempt_is_that_of_no_delegated_run(said: Said) -> None:
    assert f"of run {PARENT}" in said("show", PARENT, "--attempt", "1")
    assert json.loads(said("show", PARENT, "--attempt", "1", "--json"))["asides"][0]["purpose"] == "delegate"
