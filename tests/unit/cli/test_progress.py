"""What a person sees of a walk while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from builders import attempt

from hyperguild.cli.progress import Progress, summary, times
from hyperguild.domain.events import (
    AnswerDelta,
    AttemptFinished,
    AttemptStarted,
    CheckFinished,
    Event,
    LoadWaiting,
    Probed,
    StepFinished,
    StepReset,
    ThoughtDelta,
    VerdictGiven,
)
from hyperguild.domain.outcomes import outcome, reason
from hyperguild.domain.records import Attempt, CheckResult, ErrorInfo, RunResult
from hyperguild.domain.usage import Usage

STARTED = {"position": 0, "model": "phi4", "tier": "local", "endpoint": "swap"}


def event(kind: Any, **fields: Any) -> Event:
    made: Event = kind(seq=1, time=datetime(2026, 1, 1, tzinfo=UTC), session_id="s", run_id="r", **fields)
    return made


@pytest.mark.parametrize(
    ("then", "doing"),
    [
        (event(Probed, position=0, model="phi4", warm_state="cold"), "asked (cold)"),
        (event(LoadWaiting, model="phi4", waited_ms=1200), "loading, 1.2 s"),
        (event(LoadWaiting, model="phi4", waited_ms=2000, loaded=True), "loaded in 2.0 s"),
        (event(LoadWaiting, model="j", role="judge", waited_ms=300), "judge j is loading, 300 ms"),
        (event(LoadWaiting, model="j", role="judge", waited_ms=300, loaded=True), "being judged by j"),
        (event(AnswerDelta, text="abc"), "answering, 3 characters"),
        (event(ThoughtDelta, text="hm"), "reasoning"),
        (event(StepReset, reason="refused"), "trying again: refused"),
        (
            event(StepFinished, position=0, model="phi4", finish_reason="stop", usage=Usage(), duration_ms=1),
            "being verified",
        ),
        (event(CheckFinished, check=CheckResult(kind="not_empty", passed=True)), "being verified"),
        (event(VerdictGiven, verdict="accept"), "being recorded"),
    ],
)
def test_each_event_says_what_goes_on(then: Event, doing: str) -> None:
    progress = Progress()
    progress.apply(event(AttemptStarted, **STARTED))
    assert progress.rows[0].doing == "asked"
    progress.apply(then)
    assert [row.doing for row in progress.rows] == [doing]


def test_an_attempt_that_is_over_stays_as_it_ended() -> None:
    progress = Progress()
    done = attempt(0, score=0.2)
    progress.apply(event(AttemptStarted, **STARTED))
    progress.apply(event(AttemptFinished, attempt=done))
    progress.apply(event(AnswerDelta, text="late"))
    assert [row.attempt for row in progress.rows] == [done]


@pytest.mark.parametrize(
    ("made", "text", "why"),
    [
        (attempt(0, "accept"), "accepted", ""),
        (attempt(0, "accept", score=0.9), "accepted, score 0.90", ""),
        (attempt(0, score=0.2), "refused by the judge, score 0.20", "not good"),
        (attempt(0, cause="check_failed"), "refused by a check", "not good"),
        (attempt(0, cause="truncated"), "cut off", "not good"),
        (attempt(0, "skip", feedback="not loaded"), "skipped: cold", "not loaded"),
        (attempt(0, "error", error=ErrorInfo(kind="auth", message="no key")), "error: auth", "no key"),
    ],
)
def test_outcomes_in_words(made: Attempt, text: str, why: str) -> None:
    assert (outcome(made), reason(made)) == (text, why)


def test_times_name_what_is_known() -> None:
    made = attempt(0, load_ms=2000, first_token_ms=180, verify_ms=310, duration_ms=5230)
    assert times(made) == "load 2.0 s · first token 180 ms · verify 310 ms · 5.2 s"
    assert times(attempt(0, duration_ms=90)) == "90 ms"
    assert times(attempt(0, "skip")) == ""


def test_the_summary_is_one_line() -> None:
    result = RunResult(
        run_id="01234567-89ab", session_id="s", skill="x", chain="c", status="best_effort",
        output="o", model="phi4", tier="local", attempts=(attempt(0), attempt(1, "skip")),
        duration_ms=1500, cost_usd=None,
    )  # fmt: skip
    assert summary(result) == "best effort: phi4 (local) · 1 attempt · 1.5 s · cost unknown · run 567-89ab"
    nobody = result.model_copy(update={"model": None, "status": "budget_exceeded", "cost_usd": 0.5})
    assert summary(nobody) == "budget exceeded · 1 attempt · 1.5 s · $0.5000 · run 567-89ab"


def test_hedge_and_the_attempt_beside_it_have_a_row_each() -> None:
    progress = Progress()
    for attempt_id in ("first", "second"):
        progress.apply(event(AttemptStarted, attempt_id=attempt_id, **STARTED))
    progress.apply(event(LoadWaiting, attempt_id="first", model="phi4", waited_ms=1200))
    done = attempt(0, "accept", attempt_id="second")
    progress.apply(event(AttemptFinished, attempt_id="second", attempt=done))
    assert [row.doing for row in progress.rows] == ["loading, 1.2 s", ""]
    assert [row.attempt for row in progress.rows] == [None, done]
