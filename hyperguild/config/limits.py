"""`limits:` of the raw file as the limits that are kept."""

from __future__ import annotations

from hyperguild.config import schema_limits as raw
from hyperguild.domain.chain import Budget
from hyperguild.domain.limits import Allotment, Limits


def budget_of(budget: raw.Budget) -> Budget:
    """Return what one run may spend."""
    return Budget(
        cost_usd=budget.cost_usd, seconds=budget.seconds, attempts=budget.attempts, tokens=budget.tokens
    )


def limits_of(limits: raw.Limits) -> Limits:
    """Return the limits over all chains."""
    return Limits(run=budget_of(limits.run), session=_shared(limits.session), day=_shared(limits.day))


def _shared(budget: raw.SharedBudget) -> Allotment:
    return Allotment(cost_usd=budget.cost_usd, tokens=budget.tokens, attempts=budget.attempts)
