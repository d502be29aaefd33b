"""Makes recorded runs with texts, and replays them; everything has a default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import builders
from facts import attempt_fact, run_fact

from hyperguild.domain.chain import Chain, Check, Judge, VerifierSpec
from hyperguild.domain.review import AttemptFact, RecordedRun
from hyperguild.review.figures import ChainFigures, figures
from hyperguild.review.recollection import Answer, recollect
from hyperguild.review.replay import ByRecord, CheckOutcome, Path, ReplayVerifier, replay


def run(task: str | None, *attempts: AttemptFact, **fields: Any) -> RecordedRun:
    """Return a run whose answers are `answer of MODEL`, but for errors."""
    answers = {one.attempt_id: f"answer of {one.model}" for one in attempts if one.verdict != "error"}
    return RecordedRun(run_fact(*attempts, **fields), task, answers)


def answered(model: str, label: str | None = None, **fields: Any) -> AttemptFact:
    return attempt_fact(model=model, label=label, **fields)


def failed(model: str) -> AttemptFact:
    return attempt_fact(model=model, verdict="error", cause="server")


def chain(
    *models: str,
    judges: Sequence[str] = (),
    accept_at: float = 0.7,
    checks: Sequence[Check] = (),
    **fields: Any,
) -> Chain:
    """Return a chain of these models, of which the last one is not verified; judges and checks verify."""
    tiers = tuple(
        builders.tier(at, builders.local_model(name), verify=at < len(models) - 1)
        for at, name in enumerate(models)
    )
    judge = Judge(tuple(builders.local_model(name) for name in judges), accept_at) if judges else None
    verifier = VerifierSpec("test", tuple(checks), judge) if judges or checks else None
    return builders.chain(*tiers, verifier=verifier, **fields)


def unchecked(_: Answer) -> CheckOutcome | None:
    return None


def walked(
    runs: Sequence[RecordedRun],
    over: Chain,
    verifier: ReplayVerifier | None = None,
    checked: Callable[[Answer], CheckOutcome | None] = unchecked,
) -> tuple[Path, ...]:
    """Return the paths of the one task that the runs are of."""
    (task,) = recollect(runs)
    return replay(task, over, verifier or ByRecord(), checked)


def summed(runs: Sequence[RecordedRun], over: Chain, verifier: ReplayVerifier | None = None) -> ChainFigures:
    tasks = recollect(runs)
    return figures(over, tasks, [replay(task, over, verifier or ByRecord(), unchecked) for task in tasks])
