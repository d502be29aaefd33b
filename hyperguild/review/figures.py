"""What replayed tasks come to: shares, means, what is unknown, and how two chains differ. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hyperguild.domain.chain import Chain
from hyperguild.domain.review import LabelState
from hyperguild.review.estimates import Estimate, mean, share
from hyperguild.review.recollection import KnownTask
from hyperguild.review.replay import End, GapKind, Path


@dataclass(frozen=True, slots=True)
class TierFigures:
    """One tier: the share of tasks that reach it, of those where that is known, and how good its model is
    over all tasks whose answer by it is labelled."""

    model: str
    reached: Estimate | None
    alone: Estimate | None


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not on record, for how many tasks."""

    kind: GapKind
    model: str
    tasks: int


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """What a chain comes to over all tasks.

    `known` tasks go their whole way on record: `ends`, cost, time and quality are theirs, each of as many as
    it says, for cost, time or label may be missing. A task without an answer at its end counts as not good.
    `escalated` is the share that reaches the last tier. `gap_closed` is how much of the way from the first
    tier's quality to the last one's the chain goes, over tasks where all three are known. `other_prompts`
    counts tasks with an answer that was given to another prompt: with an earlier attempt's feedback, or
    without.
    """

    chain: str
    tasks: int
    known: int
    tiers: tuple[TierFigures, ...]
    escalated: Estimate | None
    cost_usd: Estimate | None
    duration_ms: Estimate | None
    quality: Estimate | None
    gap_closed: float | None
    ends: dict[End, float]
    missing: tuple[Missing, ...]
    other_prompts: int


@dataclass(frozen=True, slots=True)
class Differences:
    """The second chain less the first one, over tasks that are known of both: the mean of the differences."""

    escalated: Estimate | None
    cost_usd: Estimate | None
    duration_ms: Estimate | None
    quality: Estimate | None


@dataclass(frozen=True, slots=True)
class _TaskFigures:
    """What one task comes to; None where that is not known."""

    reached: tuple[float | None, ...]
    cost_usd: float | None
    duration_ms: float | None
    quality: float | None


def figures(chain: Chain, tasks: Sequence[KnownTask], paths: Sequence[tuple[Path, ...]]) -> ChainFigures:
    """Sum up what the replayed tasks come to; `paths` are those of each task."""
    each = [_of_task(chain, ways) for ways in paths]
    whole = [ways for ways in paths if _is_known(ways)]
    ends: dict[End, float] = {}
    for path in (path for ways in whole for path in ways):
        if path.end is not None:
            ends[path.end] = ends.get(path.end, 0.0) + path.weight
    alone = [[_goodness_of(task, tier.model.name) for task in tasks] for tier in chain.tiers]
    tiers = tuple(
        TierFigures(tier.model.name, share(_known(one.reached[at] for one in each)), share(_known(alone[at])))
        for at, tier in enumerate(chain.tiers)
    )
    return ChainFigures(
        chain=chain.name,
        tasks=len(tasks),
        known=len(whole),
        tiers=tiers,
        escalated=tiers[-1].reached if len(tiers) > 1 else share([0.0] * len(tasks)),
        cost_usd=mean(_known(one.cost_usd for one in each)),
        duration_ms=mean(_known(one.duration_ms for one in each)),
        quality=share(_known(one.quality for one in each)),
        gap_closed=_gap_closed(alone[0], alone[-1], [one.quality for one in each]),
        ends=ends,
        missing=_missing(paths),
        other_prompts=sum(any(one.other_prompt for path in ways for one in path.tries) for ways in paths),
    )


def differences(
    first: tuple[Chain, Sequence[tuple[Path, ...]]], second: tuple[Chain, Sequence[tuple[Path, ...]]]
) -> Differences:
    """Compare two chains, replayed over the same tasks, task by task."""
    pairs = list(
        zip(
            [_of_task(first[0], ways) for ways in first[1]],
            [_of_task(second[0], ways) for ways in second[1]],
            strict=True,
        )
    )
    return Differences(
        escalated=_difference([(_last(one), _last(other)) for one, other in pairs]),
        cost_usd=_difference([(one.cost_usd, other.cost_usd) for one, other in pairs]),
        duration_ms=_difference([(one.duration_ms, other.duration_ms) for one, other in pairs]),
        quality=_difference([(one.quality, other.quality) for one, other in pairs]),
    )


def _of_task(chain: Chain, ways: Sequence[Path]) -> _TaskFigures:
    reached: list[float | None] = []
    for position in range(len(chain.tiers)):
        earlier = any(path.gap is not None and path.gap.position < position for path in ways)
        reached.append(None if earlier else math.fsum(one.weight for one in ways if one.reaches(position)))
    if not _is_known(ways):
        return _TaskFigures(tuple(reached), None, None, None)
    return _TaskFigures(
        tuple(reached),
        _expected([(path.weight, _total(one.cost_usd for one in path.tries)) for path in ways]),
        _expected([(path.weight, _total(one.duration_ms for one in path.tries)) for path in ways]),
        _expected([(path.weight, _quality(path)) for path in ways]),
    )


def _is_known(ways: Sequence[Path]) -> bool:
    return all(path.gap is None for path in ways)


def _quality(path: Path) -> float | None:
    """Return 1 for a good answer, 0 for a bad one or none; None where nobody says, or they disagree."""
    return 0.0 if path.final is None else _goodness(path.final.label)


def _goodness(label: LabelState | None) -> float | None:
    match label:
        case "good":
            return 1.0
        case "bad":
            return 0.0
        case _:
            return None


def _goodness_of(task: KnownTask, model: str) -> float | None:
    """Return how good the newest labelled answer of the model is; None where none is labelled."""
    known = [_goodness(answer.label) for answer in task.answers.get(model, ())]
    return next((one for one in known if one is not None), None)


def _gap_closed(
    first: Sequence[float | None], last: Sequence[float | None], chain: Sequence[float | None]
) -> float | None:
    known = [
        (one, other, reached)
        for one, other, reached in zip(first, last, chain, strict=True)
        if one is not None and other is not None and reached is not None
    ]
    gap = math.fsum(other - one for one, other, _ in known)
    return math.fsum(reached - one for one, _, reached in known) / gap if gap > 0 else None


def _missing(paths: Sequence[tuple[Path, ...]]) -> tuple[Missing, ...]:
    """Count tasks by what is missing of them; of several ways that end in gaps each counts."""
    counted = Counter(
        gap
        for ways in paths
        for gap in {(path.gap.position, path.gap.kind, path.gap.model) for path in ways if path.gap}
    )
    return tuple(Missing(kind, model, count) for (_, kind, model), count in sorted(counted.items()))


def _difference(pairs: Sequence[tuple[float | None, float | None]]) -> Estimate | None:
    return mean([other - one for one, other in pairs if one is not None and other is not None])


def _last(task: _TaskFigures) -> float | None:
    return task.reached[-1] if len(task.reached) > 1 else 0.0


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _expected(outcomes: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the mean of weighted outcomes; None where one of them is not known."""
    total = 0.0
    for weight, value in outcomes:
        if value is None:
            return None
        total += weight * value
    return total


def _total(values: Iterable[float | None]) -> float | None:
    """Add up; None where one is not known."""
    known = list(values)
    return None if None in known else math.fsum(_known(known))
