"""Makes runs and attempts as statistics, calibration and replay read them; everything has a default."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.domain.usage import Usage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NUMBERS = itertools.count()

ATTEMPT = AttemptFact(
    attempt_id="",
    position=0,
    model="phi4",
    tier="local",
    verdict="accept",
    cause=None,
    score=None,
    label=None,
    warm_state=None,
    duration_ms=1000,
    load_ms=None,
    first_token_ms=None,
    verify_ms=None,
    usage=Usage(),
    cost_usd=0.0,
    judge=None,
    judge_usage=Usage(),
    judge_cost_usd=0.0,
    judge_accepts=None,
    accept_at=None,
    started_at=NOON,
)


def attempt_fact(**fields: Any) -> AttemptFact:
    return replace(ATTEMPT, attempt_id=f"attempt-{next(_NUMBERS)}", **fields)


def judged(score: float, label: str | None = None, **fields: Any) -> AttemptFact:
    """Return an attempt that a judge scored, and accepted where that follows from its word and threshold."""
    known = {"judge": "qwen3-8b", "judge_accepts": True, "accept_at": 0.7, **fields}
    accepted = known["judge_accepts"] is not False and score >= known["accept_at"]
    verdict = {"verdict": "accept"} if accepted else {"verdict": "escalate", "cause": "rejected"}
    return attempt_fact(score=score, label=label, **(verdict | known))


def run_fact(*attempts: AttemptFact, **fields: Any) -> RunFact:
    accepted = any(attempt.verdict == "accept" for attempt in attempts)
    known: dict[str, Any] = {
        "run_id": f"run-{next(_NUMBERS)}",
        "session_id": "session",
        "parent_run_id": None,
        "skill": "review",
        "chain": "code",
        "status": "accepted" if accepted else "exhausted",
        "created_at": NOON,
        "duration_ms": sum(attempt.duration_ms for attempt in attempts),
        "usage": Usage(),
        "cost_usd": None,
    }
    return RunFact(**(known | fields), attempts=attempts)


times = st.none() | st.integers(0, 5000)
costs = st.none() | st.floats(0, 2)
usages = st.builds(Usage, input_tokens=st.integers(0, 5000), output_tokens=st.integers(0, 500))
scores = st.integers(0, 20).map(lambda twentieth: twentieth / 20) | st.floats(0, 1)
attempts = st.builds(
    replace,
    st.just(ATTEMPT),
    model=st.sampled_from(["phi4", "qwen", "claude"]),
    tier=st.sampled_from(["local", "managed", "subagent"]),
    verdict=st.sampled_from(["accept", "escalate", "error", "skip"]),
    cause=st.sampled_from([None, "rejected", "check_failed", "server", "cancelled"]),
    score=st.none() | scores,
    label=st.sampled_from([None, "good", "bad", "disputed"]),
    warm_state=st.sampled_from([None, "ready", "starting", "cold", "unknown"]),
    duration_ms=st.integers(0, 9000),
    load_ms=times,
    first_token_ms=times,
    verify_ms=times,
    usage=usages,
    cost_usd=costs,
    judge=st.sampled_from([None, "qwen3-8b", "big"]),
    judge_usage=usages,
    judge_cost_usd=costs,
    judge_accepts=st.none() | st.booleans(),
    accept_at=st.none() | scores,
    hooks_usage=usages,
    hooks_cost_usd=costs,
)
runs = st.builds(
    RunFact,
    run_id=st.uuids().map(str),
    session_id=st.just("session"),
    parent_run_id=st.none() | st.just("run"),
    skill=st.sampled_from(["review", "debug"]),
    chain=st.sampled_from(["code", "default"]),
    status=st.sampled_from(
        ["accepted", "exhausted", "best_effort", "budget_exceeded", "cancelled", "running", "interrupted"]
    ),
    created_at=st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 4), timezones=st.just(UTC)),  # noqa: DTZ001
    duration_ms=st.integers(0, 20_000),
    usage=usages,
    cost_usd=costs,
    attempts=st.lists(attempts, max_size=4).map(tuple),
)
