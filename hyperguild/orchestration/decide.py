"""The whole policy of a chain: history in, next decision out. Neither awaits, nor logs, nor reads a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from hyperguild.agent.detectors import TripKind
from hyperguild.domain.chain import Chain, Judge, Model, Tier
from hyperguild.domain.events import SpeculationKind
from hyperguild.domain.limits import Amount, Refusal, Standing
from hyperguild.domain.records import Attempt, Cause, WarmState
from hyperguild.domain.usage import Usage
from hyperguild.resilience.budget import refusals

UNANSWERED: frozenset[Cause] = frozenset(get_args(TripKind))
"""Causes of an escalation in which a detector stopped the attempt: its last text is no answer."""

NOT_LOADED: frozenset[WarmState] = frozenset({"cold", "starting"})
"""Warm states of a model that has to be loaded; one that is `unknown` is tried."""

AheadPhase = Literal["cold", "answering", "judged"]
"""Of an attempt under way: its model is not loaded yet and has said nothing; it has, or was loaded; its
answer is before the verifier."""

UNJUDGED: frozenset[Cause] = frozenset({"verifier_error", "budget"})
"""Causes of an escalation in which nobody refused the answer: no verdict could be had, or not in time."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """An attempt that is under way, and beside which the next tier may be begun.

    `elapsed_s` is since it began. `takes` is what it has used and may still take at the most, its verdict
    included; what `Situation.standings` have of that already is left out.
    """

    tier: Tier
    phase: AheadPhase
    elapsed_s: float
    takes: Amount


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision may rest on.

    `attempts` are all of this run so far, skips included, in order. `warm_state` is what a probe of the next
    tier said, None before it was asked. `task_tokens` estimates the prompt without feedback, `prompt_tokens`
    with it. `spent_usd` counts known costs only. `windows` are those that servers have told, by model;
    `breakers` says, by model, why some are not asked for a while. `standings` are the limits that are kept
    beside the chain's budget: those that runs share, and tokens.

    `ahead` is an attempt that is under way; prompt and warm state are then those of the tier after it.
    """

    chain: Chain
    attempts: tuple[Attempt, ...] = ()
    warm_state: WarmState | None = None
    task_tokens: int = 0
    prompt_tokens: int = 0
    has_images: bool = False
    elapsed_s: float = 0.0
    spent_usd: float = 0.0
    windows: Mapping[str, int] = field(default_factory=dict)
    breakers: Mapping[str, str] = field(default_factory=dict)
    standings: tuple[Standing, ...] = ()
    ahead: Ahead | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask whether the tier's model is loaded, then decide again."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class Try:
    """Ask the tier for an answer and verify it.

    Within `time_left_s` where the run has a deadline, and for `cost_left_usd`, the verdict's cost taken off,
    where it has a limit; `verdict_usd` is what was taken off.
    """

    tier: Tier
    time_left_s: float | None
    cost_left_usd: float | None = None
    verdict_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Skip:
    """Pass the tier over; record why. `refused` are the limits in the way, where that is the cause."""

    tier: Tier
    cause: Cause
    reason: str
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Speculate:
    """Begin this try beside the attempt under way, before it is known whether it is needed."""

    kind: SpeculationKind
    second: Try


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the attempt under way go on; decide again after `for_s`, None: when it has come further."""

    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """The run is answered."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No answer was accepted. `best` is the best refused one, where there is any."""

    status: Literal["exhausted", "best_effort", "budget_exceeded"]
    best: Attempt | None


Decision = Probe | Try | Skip | Accept | GiveUp
Beside = Probe | Speculate | Wait
"""What may be decided while an attempt is under way."""


def decide(situation: Situation) -> Decision:
    """Return what to do next. Every decision but `Probe` adds an attempt or ends the run, so a walk ends."""
    chain, attempts = situation.chain, counted(situation.attempts)
    situation = replace(situation, attempts=attempts)
    accepted = accepted_attempt(attempts)
    if accepted is not None:
        return Accept(accepted)
    tier = next_tier(chain, attempts)
    if tier is None:
        return _exhaust(situation)
    if _spent(situation):
        return GiveUp("budget_exceeded", best_attempt(attempts))
    return obstacle(situation, tier) or _warmth(situation, tier) or _try(situation, tier)


def decide_beside(situation: Situation) -> Beside:
    """Return what to begin beside the attempt under way, `situation.ahead`, if anything.

    It must be able to begin at once, and within what the limits leave when the attempt under way takes all
    that it may.
    """
    ahead = situation.ahead
    second = None if ahead is None else tier_after(situation.chain, ahead.tier)
    if ahead is None or second is None:
        return Wait()
    situation = replace(situation, attempts=counted(situation.attempts))
    kind = _guess(situation, ahead, second)
    if kind is None:
        return Wait()
    left_s = ahead.tier.hedge_after_s - ahead.elapsed_s
    if kind == "hedge" and left_s > 0:
        return Wait(left_s)
    situation = _with_both(situation, ahead)
    if _spent(situation, under_way=1) or obstacle(situation, second) is not None:
        return Wait()
    if second.probed and situation.warm_state is None:
        return Probe(second)
    if second.probed and situation.warm_state in NOT_LOADED:
        return Wait()
    return Speculate(kind, _try(situation, second))


def tier_after(chain: Chain, tier: Tier) -> Tier | None:
    """Return the tier that follows in the chain; None after the last."""
    return chain.tiers[tier.position + 1] if tier.position + 1 < len(chain.tiers) else None


def accepted_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt whose answer was accepted, which ends a run; None where there is none."""
    return next((attempt for attempt in attempts if attempt.verdict == "accept"), None)


def next_tier(chain: Chain, attempts: Sequence[Attempt]) -> Tier | None:
    """Return the next tier: the same again while it has tries left, else the one after; None at the end.

    Attempts are in the order in which they ended: where two were under way, the later tier's may be first.
    """
    attempts = counted(attempts)
    if not attempts:
        return chain.tiers[0]
    furthest = max(attempt.position for attempt in attempts)
    last = [attempt for attempt in attempts if attempt.position == furthest][-1]
    tier = chain.tiers[furthest]
    tried = sum(1 for attempt in attempts if attempt.position == furthest)
    if last.verdict == "escalate" and last.cause not in UNJUDGED and tried < tier.attempts:
        return tier
    return tier_after(chain, tier)


def counted(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Return the attempts that say something of their tiers: those that the caller cancelled do not."""
    return tuple(attempt for attempt in attempts if attempt.cause != "cancelled")


def best_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the refused attempt to fall back on: the highest score, a later one before an earlier.

    An answer of the last tier that was tried, for which no verifier could be had, comes before all: nobody
    refused it. What an attempt said that a detector stopped is no answer.
    """
    tried = [attempt for attempt in attempts if attempt.verdict != "skip"]
    answered = [attempt for attempt in tried if attempt.answer and attempt.cause not in UNANSWERED]
    refused = [attempt for attempt in answered if attempt.verdict == "escalate"]
    if not refused:
        return None
    if refused[-1] is tried[-1] and refused[-1].cause in UNJUDGED:
        return refused[-1]
    return max(enumerate(refused), key=lambda pair: (_or_less(pair[1].score), pair[0]))[1]


def worst_cost_usd(chain: Chain, tier: Tier, prompt_tokens: int) -> float | None:
    """Return the most that one try of the tier may cost in USD, its verdict included; None: nobody knows."""
    output = tier.model.most_output_tokens
    answer = tier.model.worst_cost_usd(prompt_tokens)
    judge = chain.verifier.judge if tier.verify and chain.verifier is not None else None
    if answer is None or judge is None:
        return answer
    verdicts = [_verdict_cost_usd(model, judge, prompt_tokens + output) for model in judge.models]
    known = [cost for cost in verdicts if cost is not None]
    return answer + max(known) if len(known) == len(verdicts) else None


def worst_amount(chain: Chain, tier: Tier, prompt_tokens: int) -> Amount:
    """Return the most that one try of the tier may take, its verdict included."""
    output = tier.model.most_output_tokens
    tokens = prompt_tokens + output
    judge = chain.verifier.judge if tier.verify and chain.verifier is not None else None
    if judge is not None:
        verdict = max(model.most_output_tokens for model in judge.models)
        tokens += judge.votes * (prompt_tokens + output + verdict)
    return Amount(worst_cost_usd(chain, tier, prompt_tokens), tokens, attempts=1)


def _verdict_cost_usd(model: Model, judge: Judge, prompt_tokens: int) -> float | None:
    output = model.most_output_tokens
    usage = Usage(input_tokens=judge.votes * prompt_tokens, output_tokens=judge.votes * output)
    return model.cost_usd(usage)


def _or_less(score: float | None) -> float:
    return -1.0 if score is None else score


def _exhaust(situation: Situation) -> GiveUp:
    """End a chain that was walked to its end: by its budget, if that kept it from an answer on the way."""
    best = best_attempt(situation.attempts)
    kept_back = any(one.cause == "budget" for one in situation.attempts)
    if kept_back or _deadline_passed(situation):
        return GiveUp("budget_exceeded", best)
    if situation.chain.on_exhausted == "best" and best is not None:
        return GiveUp("best_effort", best)
    return GiveUp("exhausted", best)


def _guess(situation: Situation, ahead: Ahead, second: Tier) -> SpeculationKind | None:
    """Return as what the next tier is to be begun, as far as the attempt has come; None: not at all."""
    first = ahead.tier
    if ahead.phase == "cold" and first.when_cold == "hedge" and first.model.name != second.model.name:
        return "hedge"
    tried = sum(1 for attempt in situation.attempts if attempt.position == first.position)
    if ahead.phase == "judged" and first.speculate and first.verify and tried + 1 >= first.attempts:
        return "tier"
    return None


def _with_both(situation: Situation, ahead: Ahead) -> Situation:
    """Return the situation with all that the attempt under way may take counted as gone."""
    takes = ahead.takes
    return replace(
        situation,
        spent_usd=situation.spent_usd + (takes.cost_usd or 0.0),
        standings=tuple(
            replace(one, reserved=one.reserved + (takes.of(one.unit) or 0.0)) for one in situation.standings
        ),
    )


def _spent(situation: Situation, under_way: int = 0) -> bool:
    limit = situation.chain.budget.attempts
    tried = under_way + sum(1 for attempt in situation.attempts if attempt.verdict != "skip")
    return (limit is not None and tried >= limit) or _deadline_passed(situation)


def _deadline_passed(situation: Situation) -> bool:
    seconds = situation.chain.budget.seconds
    return seconds is not None and situation.elapsed_s >= seconds


def _warmth(situation: Situation, tier: Tier) -> Probe | Skip | None:
    """Return what the tier's warm state asks for, or None. The last tier is never skipped for being cold."""
    if not tier.probed:
        return None
    if situation.warm_state is None:
        return Probe(tier)
    is_last = tier.position == len(situation.chain.tiers) - 1
    if tier.when_cold == "skip" and situation.warm_state in NOT_LOADED and not is_last:
        return Skip(tier, "cold", f"{tier.model.name} is {situation.warm_state}, and when_cold is skip")
    return None


def _try(situation: Situation, tier: Tier) -> Try:
    budget = situation.chain.budget
    left_s = None if budget.seconds is None else budget.seconds - situation.elapsed_s
    if budget.cost_usd is None:
        return Try(tier, left_s)
    worst = worst_cost_usd(situation.chain, tier, situation.prompt_tokens) or 0.0
    verdict = worst - (tier.model.worst_cost_usd(situation.prompt_tokens) or 0.0)
    return Try(tier, left_s, budget.cost_usd - situation.spent_usd - verdict, verdict)


def obstacle(situation: Situation, tier: Tier) -> Skip | None:
    """Return why the tier cannot be tried at all, or None."""
    name = tier.model.name
    for attempt in situation.attempts:
        if attempt.model == name and attempt.error is not None:
            kind = attempt.error.kind
            return Skip(tier, kind, f"{name} failed earlier in this run ({kind})")
    limit = situation.chain.budget.cost_usd
    if limit is not None:
        left = limit - situation.spent_usd
        cost = worst_cost_usd(situation.chain, tier, situation.prompt_tokens)
        # What is free is never over budget, not even over a spent one.
        if cost is None or (cost > 0 and cost > left):
            need = (
                f"{name} or its judge has no price, so the budget cannot be held"
                if cost is None
                else f"{name} may cost up to ${cost:.3g}, and ${max(left, 0):.3g} of ${limit:.3g} is left"
            )
            own = Standing("run", "cost_usd", limit, situation.spent_usd)
            return Skip(tier, "budget", need, (Refusal(own, cost),))
    if name in situation.breakers:
        return Skip(tier, "breaker_open", situation.breakers[name])
    refused = refusals(worst_amount(situation.chain, tier, situation.prompt_tokens), situation.standings)
    if refused:
        return Skip(tier, "budget", "; ".join(one.text(name) for one in refused), refused)
    window = situation.windows.get(name, tier.model.context_window)
    if window is not None and situation.task_tokens > window:
        reason = f"the prompt has about {situation.task_tokens} tokens; the window of {name} has {window}"
        return Skip(tier, "context_overflow", reason)
    if situation.has_images and not tier.model.vision:
        return Skip(tier, "bad_request", f"{name} takes no images (vision is not declared)")
    return None
