"""What is said of a run that ends without an accepted answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hyperguild.domain.chain import Budget, Chain, Model
from hyperguild.domain.limits import Refusal
from hyperguild.domain.records import (
    Attempt,
    BudgetExceededError,
    ChainExhaustedError,
    RunError,
    RunResult,
)
from hyperguild.domain.text import one_line
from hyperguild.orchestration.remedies import after_exhaustion, remedies

CAUSE_CHARS = 120
"""Of a refusal's feedback in the one line that an exhausted chain gets; the log has the whole."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a run beside its result.

    `refused` are the limits that were in the way. `again` says of a model that is not asked for a while when
    it is tried again, None of others.
    """

    refused: Sequence[Refusal]
    again: Callable[[Model], str | None]
    elapsed_s: float


def failure_of(result: RunResult, chain: Chain, known: Known) -> RunError | None:
    """Return the error that tells of a run without an accepted answer; None where that is no failure."""
    if result.status == "budget_exceeded":
        return BudgetExceededError(
            f"budget or deadline spent before an answer was accepted: {causes(chain, result.attempts)}",
            result=result,
            hint=what_to_raise(chain.budget, result.attempts, known.refused, known.elapsed_s),
        )
    if result.status == "exhausted":
        return ChainExhaustedError(
            f"no answer was accepted: {causes(chain, result.attempts)}",
            result=result,
            hint=after_exhaustion(chain, result.attempts, known.again),
        )
    return None


def causes(chain: Chain, attempts: Sequence[Attempt]) -> str:
    """Return one line that names every tier with what became of it."""
    reached = {attempt.position for attempt in attempts}
    tried = [f"{attempt.model} ({attempt.tier}): {_cause(attempt)}" for attempt in attempts]
    untried = [
        f"{tier.model.name} ({tier.model.label}): not tried"
        for tier in chain.tiers
        if tier.position not in reached
    ]
    return "; ".join([*tried, *untried])


def what_to_raise(
    budget: Budget, attempts: Sequence[Attempt], refused: Sequence[Refusal], elapsed_s: float
) -> str:
    """Return which limit to raise so that such a run may come further."""
    if budget.seconds is not None and elapsed_s >= budget.seconds:
        return "raise --deadline, or budget.seconds of the chain"
    if refused:
        return remedies(refused)
    if any(attempt.cause == "budget" for attempt in attempts):
        return "raise --max-cost, or budget.cost_usd of the chain"
    return "raise budget.attempts of the chain"


def _cause(attempt: Attempt) -> str:
    if attempt.error is not None:
        return f"{attempt.error.kind}: {attempt.error.message}"
    if attempt.verdict == "skip":
        return f"skipped ({attempt.cause}): {attempt.feedback}"
    score = "" if attempt.score is None else f", score {attempt.score:.2f}"
    return f"{attempt.cause}{score}: {one_line(attempt.feedback, CAUSE_CHARS)}"
