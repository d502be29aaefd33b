"""What a person can do about a run that ended without an answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hyperguild.domain.chain import Chain, Model
from hyperguild.domain.limits import Refusal
from hyperguild.domain.records import Attempt

RESET = "`hyperguild models reset` has it asked at once"
SHOW = "`hyperguild sessions show last` shows every attempt"


def remedy(refused: Refusal) -> str:
    """Return what can be done about a refusal."""
    standing = refused.standing
    if refused.asked is None:
        return "give the model a price in chains.yaml"
    match standing.scope:
        case "run" if standing.unit == "cost_usd":
            return "raise --max-cost, budget.cost_usd of the chain, or limits.run.cost_usd"
        case "run":
            return f"raise budget.{standing.unit} of the chain, or limits.run.{standing.unit}"
        case "session":
            return f"raise limits.session.{standing.unit} of chains.yaml, or begin another session"
        case "day":
            return f"raise limits.day.{standing.unit} of chains.yaml, or wait for the next day (UTC)"


def remedies(refused: Sequence[Refusal]) -> str:
    """Return what can be done about all of them, each thing once, in the order of the refusals."""
    return "; ".join(dict.fromkeys(map(remedy, refused)))


def after_exhaustion(chain: Chain, attempts: Sequence[Attempt], again: Callable[[Model], str | None]) -> str:
    """Return what to do where no tier's answer was accepted: when to come back, where that may help.

    `again` says of a model that is not asked for a while when it is tried again, None of others.
    """
    failed = {one.model for one in attempts if one.error is not None or one.cause == "breaker_open"}
    models = [tier.model for tier in chain.tiers if tier.model.name in failed]
    if chain.verifier is not None and chain.verifier.judge is not None:
        unjudged = any(one.cause == "verifier_error" for one in attempts)
        models += chain.verifier.judge.models if unjudged else ()
    waits = dict.fromkeys(when for model in models if (when := again(model)) is not None)
    return "; ".join([*waits, RESET, SHOW] if waits else [SHOW])
