"""What is said of a run that ends without an accepted answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.domain.chain import Budget, Chain
from hyperguild.domain.limits import Refusal
from hyperguild.domain.records import (
    Attempt,
    BudgetExceededError,
    ChainExhaustedError,
    RunError,
    RunResult,
)
from hyperguild.domain.text import one_line
from hyperguild.orchestration.metering import remedy

CAUSE_CHARS = 120
"""Of a refusal's feedback in the one line that an exhausted chain gets; the log has the whole."""


def failure_of(result: RunResult, chain: Chain, refused: Refusal | None, elapsed_s: float) -> RunError | None:
    """Return the error that tells of a run without an accepted answer; None where that is no failure.

    `refused` is the last limit that was in the way.
    """
    if result.status == "budget_exceeded":
        return BudgetExceededError(
            f"budget or deadline spent before an answer was accepted: {causes(chain, result.attempts)}",
            result=result,
            hint=what_to_raise(chain.budget, result.attempts, refused, elapsed_s),
        )
    if result.status == "exhausted":
        return ChainExhaustedError(
            f"no answer was accepted: {causes(chain, result.attempts)}",
            result=result,
            hint="`hyperguild sessions show last` shows every attempt",
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
    budget: Budget, attempts: Sequence[Attempt], refused: Refusal | None, elapsed_s: float
) -> str:
    """Return which limit to raise so that such a run may come further."""
    if budget.seconds is not None and elapsed_s >= budget.seconds:
        return "raise --deadline, or budget.seconds of the chain"
    if refused is not None:
        return remedy(refused)
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
