"""Recorded attempts under another chain, threshold or judge order. Pure.

The chain's own policy decides (`orchestration.decide`); what a tier answers and what a judge says of it is
taken from the record. What is not on record is a `Gap`: the path ends there, and is not known further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hyperguild.domain.chain import Chain, Judge, Tier
from hyperguild.domain.records import Attempt, Cause, ErrorInfo, VerdictKind
from hyperguild.domain.usage import estimate_tokens
from hyperguild.errors import TREATMENT, ErrorKind
from hyperguild.orchestration.decide import Accept, GiveUp, Probe, Situation, Skip, Try, decide
from hyperguild.review.recollection import Answer, Judgement, KnownTask

CheckOutcome = Literal["passed", "failed", "fault"]
CheckedAs = Callable[[Answer], CheckOutcome | None]
"""What the chain's checks say of an answer, run again; None: they were not run yet."""

GapKind = Literal["answer", "text", "checks", "judgement", "label"]
"""What is missing: an answer of the model, its text, a run of the checks, a judgement, a label."""

End = Literal["accepted", "best_effort", "exhausted", "budget_exceeded"]


@dataclass(frozen=True, slots=True)
class ByRecord:
    """Checks are run again, and judgements taken from the record: what the chain would have done."""


@dataclass(frozen=True, slots=True)
class ByLabel:
    """A perfect verifier: accepts what is labelled good, and nothing else."""


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Refuses this share of all answers, whatever they are. It is not drawn: each task goes both ways."""

    share: float


ReplayVerifier = ByRecord | ByLabel | AtRandom


@dataclass(frozen=True, slots=True)
class Gap:
    """What is not on record, and where: the tier's position and model. `answer`: of what it is missing."""

    kind: GapKind
    position: int
    model: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """One try of a tier. `answer` is None where the tier was skipped.

    Cost in USD and time in ms are those of the answer and of its verdict; None where they are not on record.
    """

    attempt: Attempt
    answer: Answer | None
    cost_usd: float | None
    duration_ms: int | None
    follows_refusal: bool = False

    @property
    def other_prompt(self) -> bool:
        """Whether the answer was given to another prompt than it would be here, as to earlier feedback."""
        return self.answer is not None and self.answer.after_refusal != self.follows_refusal


@dataclass(frozen=True, slots=True)
class Path:
    """One way a task may go, and how likely it does. It ended, or is unknown from `gap` on.

    `final` is the answer that the caller gets, None where there is none.
    """

    weight: float
    tries: tuple[Tried, ...] = ()
    end: End | None = None
    final: Answer | None = None
    gap: Gap | None = None

    def reaches(self, position: int) -> bool:
        """Tell whether the tier at this position was asked, or would be."""
        asked = [one.attempt.position for one in self.tries if one.attempt.verdict != "skip"]
        return position in asked or (self.gap is not None and self.gap.position == position)


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What becomes of an answer; `weight` is how likely."""

    verdict: VerdictKind
    cause: Cause | None = None
    judgement: Judgement | None = None
    weight: float = 1.0


def replay(task: KnownTask, chain: Chain, verifier: ReplayVerifier, checked: CheckedAs) -> tuple[Path, ...]:
    """Return the ways that the task goes through the chain, whose weights sum up to 1.

    Models are taken to be loaded, and prompts to have the size of the task.
    """
    ended: list[Path] = []
    under_way = [Path(1.0)]
    while under_way:
        path = under_way.pop()
        if path.end is not None or path.gap is not None:
            ended.append(path)
        else:
            under_way += _onward(path, task, chain, verifier, checked)
    return tuple(ended)


def _onward(
    path: Path, task: KnownTask, chain: Chain, verifier: ReplayVerifier, checked: CheckedAs
) -> list[Path]:
    """Return where the path leads with the next decision."""
    decision = decide(_situation(path, task, chain))
    match decision:
        case Accept(attempt):
            return [replace(path, end="accepted", final=_answer_of(path, attempt))]
        case GiveUp(status, best):
            final = _answer_of(path, best) if status == "best_effort" and best is not None else None
            return [replace(path, end=status, final=final)]
        case Skip(tier, cause):
            skipped = Attempt(
                attempt_id="",
                position=tier.position,
                model=tier.model.name,
                tier=tier.model.label,
                endpoint=tier.model.endpoint.name,
                verdict="skip",
                cause=cause,
            )
            return [replace(path, tries=(*path.tries, Tried(skipped, None, 0.0, 0)))]
        case Try(tier) | Probe(tier):
            return _tried(path, task, tier, chain, verifier, checked)


def _tried(
    path: Path, task: KnownTask, tier: Tier, chain: Chain, verifier: ReplayVerifier, checked: CheckedAs
) -> list[Path]:
    follows_refusal = any(one.attempt.verdict == "escalate" for one in path.tries)
    answer = _recorded_answer(path, task, tier, _judge(chain, tier, verifier), follows_refusal)
    if answer is None:
        return [replace(path, gap=Gap("answer", tier.position, tier.model.name))]
    rulings = _rulings(answer, tier, chain, verifier, checked)
    if isinstance(rulings, str):
        return [replace(path, gap=Gap(rulings, tier.position, tier.model.name, answer))]
    return [
        replace(
            path,
            weight=path.weight * ruling.weight,
            tries=(*path.tries, _record(answer, tier, ruling, follows_refusal)),
        )
        for ruling in rulings
        if ruling.weight > 0
    ]


def _situation(path: Path, task: KnownTask, chain: Chain) -> Situation:
    tokens = estimate_tokens(task.text or "")
    return Situation(
        chain=chain,
        attempts=tuple(one.attempt for one in path.tries),
        warm_state="ready",
        task_tokens=tokens,
        prompt_tokens=tokens,
        elapsed_s=sum(one.duration_ms or 0 for one in path.tries) / 1000,
        spent_usd=sum(one.cost_usd or 0.0 for one in path.tries),
    )


def _recorded_answer(
    path: Path, task: KnownTask, tier: Tier, judge: Judge | None, follows_refusal: bool
) -> Answer | None:
    """Return the answer on record that comes nearest to what the tier would be asked; each is used once.

    An answer before an error, one that the chain's judges judged before others, then one to the same kind of
    prompt, then the newest.
    """
    used = {one.attempt.attempt_id for one in path.tries}
    choices = [
        answer for answer in task.answers.get(tier.model.name, ()) if answer.fact.attempt_id not in used
    ]
    return min(
        choices,
        key=lambda answer: (
            answer.is_error,
            judge is not None and recorded_judgement(answer, judge) is None,
            answer.after_refusal != follows_refusal,
        ),
        default=None,
    )


def _judge(chain: Chain, tier: Tier, verifier: ReplayVerifier) -> Judge | None:
    """Return who would judge the tier's answers, by the record."""
    asked = isinstance(verifier, ByRecord) and tier.verify and chain.verifier is not None
    return chain.verifier.judge if asked and chain.verifier is not None else None


def recorded_judgement(answer: Answer, judge: Judge) -> Judgement | None:
    """Return the judgement of the first of the judges that is on record."""
    for model in judge.models:
        if model.name in answer.judgements:
            return answer.judgements[model.name]
    return None


def _rulings(
    answer: Answer, tier: Tier, chain: Chain, verifier: ReplayVerifier, checked: CheckedAs
) -> Sequence[_Ruling] | GapKind:
    """Return what may become of the answer, or what is missing to know it."""
    if answer.is_error:
        return [_Ruling("error", answer.fact.cause)]
    if answer.refused_before is not None:
        return [_Ruling("escalate", answer.refused_before)]
    if not tier.verify or chain.verifier is None:
        return [_Ruling("accept")]
    if isinstance(verifier, ByRecord):
        return _by_record(answer, chain, checked)
    if tier.position == len(chain.tiers) - 1:
        return [_Ruling("accept")]
    if isinstance(verifier, AtRandom):
        return [
            _Ruling("accept", weight=1 - verifier.share),
            _Ruling("escalate", "rejected", weight=verifier.share),
        ]
    match answer.label:
        case "good":
            return [_Ruling("accept")]
        case "bad":
            return [_Ruling("escalate", "rejected")]
        case _:
            return "label"


def _by_record(answer: Answer, chain: Chain, checked: CheckedAs) -> Sequence[_Ruling] | GapKind:
    if chain.verifier is None:
        return [_Ruling("accept")]
    if chain.verifier.checks:
        if answer.text is None:
            return "text"
        match checked(answer):
            case None:
                return "checks"
            case "failed":
                return [_Ruling("escalate", "check_failed")]
            case "fault":
                return [_Ruling("escalate", "verifier_error")]
    judge = chain.verifier.judge
    if judge is None:
        return [_Ruling("accept")]
    judgement = recorded_judgement(answer, judge)
    accepted = None if judgement is None else judgement.accepted_at(judge.accept_at)
    if accepted is None:
        return "judgement"
    return [
        _Ruling("accept", judgement=judgement)
        if accepted
        else _Ruling("escalate", "rejected", judgement=judgement)
    ]


def _record(answer: Answer, tier: Tier, ruling: _Ruling, follows_refusal: bool) -> Tried:
    """Return the try as it is decided upon, with what it would have cost and taken."""
    fact, judged = answer.fact, ruling.judgement
    cost_usd = _cost_usd(answer, tier)
    if judged is not None and cost_usd is not None:
        judge_usd = judged.fact.judge_cost_usd
        cost_usd = None if judge_usd is None else cost_usd + judge_usd
    # No model answers in no time: that is how it is recorded where nobody took the time.
    duration_ms = None if fact.duration_ms == 0 and not answer.is_error else fact.duration_ms
    if duration_ms is not None:
        verify_ms = judged.fact.verify_ms if judged is not None else 0
        duration_ms = max(duration_ms - (fact.verify_ms or 0), 0) + (verify_ms or 0)
    error = None
    if ruling.verdict == "error":
        error = ErrorInfo(kind=_kind_of(fact.cause), message="as recorded")
    attempt = Attempt(
        attempt_id=fact.attempt_id,
        position=tier.position,
        model=tier.model.name,
        tier=tier.model.label,
        endpoint=tier.model.endpoint.name,
        duration_ms=duration_ms or 0,
        verdict=ruling.verdict,
        cause=ruling.cause,
        score=None if judged is None else judged.score,
        answer=answer.text or "",
        error=error,
        cost_usd=cost_usd,
    )
    return Tried(attempt, answer, cost_usd, duration_ms, follows_refusal)


def _cost_usd(answer: Answer, tier: Tier) -> float | None:
    """Return what the answer cost: as recorded, else what its recorded tokens cost at the chain's price."""
    fact = answer.fact
    if fact.cost_usd is not None or tier.model.price is None or not fact.usage.tokens:
        return fact.cost_usd
    return tier.model.price.cost_usd(fact.usage)


def _kind_of(cause: Cause | None) -> ErrorKind:
    """Return the kind of a recorded error; `server` where the record has none."""
    return next((kind for kind in TREATMENT if kind == cause), "server")


def _answer_of(path: Path, attempt: Attempt) -> Answer | None:
    return next((one.answer for one in path.tries if one.attempt is attempt), None)
