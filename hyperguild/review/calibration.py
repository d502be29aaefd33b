"""Measures judges against what reviewers said of the answers, and finds the threshold that keeps them right.

What counts are attempts that a judge scored and reviewers agree on (`good` or `bad`); disputed ones and
those without a label are counted only. A false accept is a bad answer that was accepted; its rate is of bad
answers, and that of true accepts of good ones. Both sides of the threshold are known, since refused answers
have scores and labels, too; but they are rates of the answers that were labelled, whichever those were.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hyperguild.domain.records import Record
from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.review.intervals import CONFIDENCE, Rate, trials_needed, upper_bound

BINS = 10
"""Of the reliability curve, each a tenth of the scores wide; 1 belongs to the last."""

GRID = 100
"""Thresholds that are looked at: hundredths. They are fixed in advance, and false accepts do not rise with
the threshold, so that going down from 1 until the bound is first broken keeps the confidence (a fixed
sequence of tests)."""

FINE = 1000
"""Scores of answers without a label are kept as counts of thousandths, however many there are."""

LEAST_TARGET = 0.0001
"""Of false accepts, a rate that can be asked for; surer than that takes more labels than anybody gives."""

Finding = Literal["threshold", "too_few_labels", "too_generous", "no_good_labels", "accepts_nothing"]

NowOf = Callable[[str, Sequence[str]], float | None]
"""Tells the threshold that applies now to a judge in one of these chains; None: not known."""


class Wanted(Record):
    """What a threshold must keep: a rate of false accepts at most (0 to 1), how surely (0.5 to 1)."""

    false_accepts: float = 0.05
    confidence: float = CONFIDENCE


class Bin(Record):
    """Labelled answers with scores from `low` to `high`: their mean score, and the share of good ones."""

    low: float
    high: float
    mean_score: float
    good: Rate


class Point(Record):
    """What a threshold does, where the judge's own word must be yes, too.

    `false_accepts` are of answers labelled bad, `true_accepts` of those labelled good, `accepted` of all that
    the judge has judged, labelled or not.
    """

    accept_at: float
    false_accepts: Rate
    true_accepts: Rate
    accepted: Rate


class Calibration(Record):
    """How one judge does for one skill.

    `labelled` answers are `good` or `bad`; of others that it judged, `disputed` and `unlabelled`. `accuracy`,
    `true_accepts` and `false_accepts` are of the decisions on record, whatever thresholds applied to them.
    `brier` is the mean squared distance of score and truth (1 good, 0 bad), `calibration_error` the mean
    distance of a bin's mean score and its share of good answers, weighed by its count; null without labels.

    `without_word` labelled answers say nothing of thresholds: what the judge itself said of them was not
    kept. `curve` has a point for each hundredth at which the one below decides otherwise, and 0; `now` is
    the threshold that applies, if known.

    `finding`: `threshold` where `proposal` keeps what is wanted, with the true rate of false accepts under
    `upper_bound` at the wanted confidence (one-sided). Of the thresholds that accept the same answers, it is
    the one nearest to `now`. Else it tells why there is none: `too_few_labels` (about `more_bad` more that
    are bad are needed, if the judge goes on like this), `too_generous` (it gives bad answers full scores),
    `no_good_labels` (what it would cost cannot be told), `accepts_nothing` (no good answer would reach it).
    """

    judge: str
    skill: str
    chains: tuple[str, ...]
    labelled: int
    good: int
    bad: int
    disputed: int
    unlabelled: int
    without_word: int
    accuracy: Rate
    true_accepts: Rate
    false_accepts: Rate
    brier: float | None
    calibration_error: float | None
    reliability: tuple[Bin, ...]
    curve: tuple[Point, ...]
    now: Point | None
    finding: Finding
    proposal: Point | None
    upper_bound: float | None
    more_bad: int | None


@dataclass(frozen=True, slots=True)
class _Labelled:
    """An answer that reviewers agree on. `word` is the judge's own, None where it was not kept."""

    score: float
    word: bool | None
    accepted: bool
    good: bool

    def passes(self, accept_at: float) -> bool:
        return self.word is True and self.score >= accept_at


class Calibrating:
    """Takes runs one by one; keeps labelled answers, and counts of the others."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def add(self, run: RunFact) -> None:
        """Take the run's attempts that a judge has scored."""
        for attempt in run.attempts:
            if attempt.judge is not None and attempt.score is not None:
                pair = self._pairs.setdefault((attempt.judge, run.skill), _Pair())
                pair.add(attempt, attempt.score, run.chain)

    def result(self, wanted: Wanted, now_of: NowOf | None = None) -> tuple[Calibration, ...]:
        """Return each judge and skill, most labels first. Without `now_of`, `now` is as last recorded."""
        found = [
            pair.calibration(judge, skill, wanted, now_of) for (judge, skill), pair in self._pairs.items()
        ]
        return tuple(sorted(found, key=lambda one: (-one.labelled, one.judge, one.skill)))


async def calibrate_runs(
    batches: AsyncIterable[Sequence[RunFact]], wanted: Wanted, now_of: NowOf | None = None
) -> tuple[Calibration, ...]:
    """Calibrate judges on all runs of the batches (`ReviewStore.run_facts`). Raises what that does."""
    calibrating = Calibrating()
    async for batch in batches:
        for run in batch:
            calibrating.add(run)
    return calibrating.result(wanted, now_of)


@dataclass(slots=True)
class _Pair:
    """What is kept of one judge and one skill. `passing[i]` answers scored i thousandths and got a yes."""

    labelled: list[_Labelled] = field(default_factory=list)
    chains: dict[str, None] = field(default_factory=dict)
    disputed: int = 0
    unlabelled: int = 0
    judged: int = 0
    passing: list[int] = field(default_factory=lambda: [0] * (FINE + 1))
    accept_at: float | None = None

    def add(self, attempt: AttemptFact, score: float, chain: str) -> None:
        """Take an attempt that was given this score."""
        self.chains.setdefault(chain)
        self.accept_at = self.accept_at if attempt.accept_at is None else attempt.accept_at
        word = attempt.judge_accepts
        if word is not None:
            self.judged += 1
            self.passing[_place(score, FINE)] += word
        if attempt.label is None:
            self.unlabelled += 1
        elif attempt.label == "disputed":
            self.disputed += 1
        else:
            accepted, good = attempt.verdict == "accept", attempt.label == "good"
            self.labelled.append(_Labelled(score, word, accepted, good))

    def calibration(self, judge: str, skill: str, wanted: Wanted, now_of: NowOf | None) -> Calibration:
        """Return what it comes to."""
        chains = tuple(self.chains)
        accept_at = now_of(judge, chains) if now_of is not None else self.accept_at
        good = [one for one in self.labelled if one.good]
        bad = [one for one in self.labelled if not one.good]
        right = sum(one.accepted == one.good for one in self.labelled)
        points = _Points(self, wanted.confidence)
        search = _search(points, wanted, accept_at)
        squares = [(one.score - one.good) ** 2 for one in self.labelled]
        bins = _bins(self.labelled, wanted.confidence)
        gaps = [bin_.good.of * abs(bin_.mean_score - (bin_.good.share or 0.0)) for bin_ in bins]
        return Calibration(
            judge=judge,
            skill=skill,
            chains=chains,
            labelled=len(self.labelled),
            good=len(good),
            bad=len(bad),
            disputed=self.disputed,
            unlabelled=self.unlabelled,
            without_word=sum(one.word is None for one in self.labelled),
            accuracy=Rate.made(right, len(self.labelled), wanted.confidence),
            true_accepts=Rate.made(sum(one.accepted for one in good), len(good), wanted.confidence),
            false_accepts=Rate.made(sum(one.accepted for one in bad), len(bad), wanted.confidence),
            brier=sum(squares) / len(squares) if squares else None,
            calibration_error=sum(gaps) / len(self.labelled) if self.labelled else None,
            reliability=bins,
            curve=points.curve(),
            now=None if accept_at is None else points.at(accept_at),
            finding=search.finding,
            proposal=search.proposal,
            upper_bound=search.upper_bound,
            more_bad=search.more_bad,
        )


class _Points:
    """Tells what any threshold does, of answers whose judge's own word is known."""

    def __init__(self, pair: _Pair, confidence: float) -> None:
        self._confidence = confidence
        self._good = [one for one in pair.labelled if one.good and one.word is not None]
        self._bad = [one for one in pair.labelled if not one.good and one.word is not None]
        self._judged = pair.judged
        self._reaching = [0] * (FINE + 2)
        for place in range(FINE, -1, -1):
            self._reaching[place] = self._reaching[place + 1] + pair.passing[place]

    def at(self, accept_at: float) -> Point:
        """Return what the threshold does; `accepted` is exact for thousandths."""
        return Point(
            accept_at=accept_at,
            false_accepts=Rate.made(_passing(self._bad, accept_at), len(self._bad), self._confidence),
            true_accepts=Rate.made(_passing(self._good, accept_at), len(self._good), self._confidence),
            accepted=Rate.made(self.accepted(accept_at), self._judged, self._confidence),
        )

    def accepted(self, accept_at: float) -> int:
        """Return how many of all judged answers would be accepted."""
        place = _place(accept_at, FINE)
        return self._reaching[place if place / FINE >= accept_at else place + 1]

    def curve(self) -> tuple[Point, ...]:
        """Return the points at which something changes, by threshold."""
        points: list[Point] = []
        for step in range(GRID + 1):
            point = self.at(step / GRID)
            if not points or _counts(point) != _counts(points[-1]):
                points.append(point)
        return tuple(points)


@dataclass(frozen=True, slots=True)
class _Search:
    """What looking for a threshold comes to."""

    finding: Finding
    proposal: Point | None = None
    upper_bound: float | None = None
    more_bad: int | None = None


def _search(points: _Points, wanted: Wanted, accept_at: float | None) -> _Search:
    """Return the lowest threshold that keeps what is wanted, or why there is none."""

    def bound(step: int) -> float:
        rate = points.at(step / GRID).false_accepts
        return upper_bound(rate.count, rate.of, wanted.confidence)

    lowest = GRID
    if bound(lowest) > wanted.false_accepts:
        strictest = points.at(1.0).false_accepts
        share = strictest.share or 0.0
        if share >= wanted.false_accepts:
            return _Search("too_generous")
        needed = trials_needed(share, wanted.false_accepts, wanted.confidence)
        return _Search("too_few_labels", more_bad=max(needed - strictest.of, 1))
    while lowest > 0 and bound(lowest - 1) <= wanted.false_accepts:
        lowest -= 1
    found = points.at(lowest / GRID)
    if not found.true_accepts.of:
        return _Search("no_good_labels")
    if not found.true_accepts.count:
        return _Search("accepts_nothing")
    highest = lowest
    while highest < GRID and _counts(points.at((highest + 1) / GRID)) == _counts(found):
        highest += 1
    chosen = lowest / GRID if accept_at is None else min(max(accept_at, lowest / GRID), highest / GRID)
    return _Search("threshold", points.at(chosen), bound(lowest))


def _bins(labelled: Sequence[_Labelled], confidence: float) -> tuple[Bin, ...]:
    """Return the bins that hold something, lowest scores first."""
    held: dict[int, list[_Labelled]] = {}
    for one in labelled:
        held.setdefault(min(_place(one.score, BINS), BINS - 1), []).append(one)
    return tuple(
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            mean_score=sum(one.score for one in ones) / len(ones),
            good=Rate.made(sum(one.good for one in ones), len(ones), confidence),
        )
        for place, ones in sorted(held.items())
    )


def _place(score: float, parts: int) -> int:
    """Return the largest i with i / parts <= score; a product alone is off by one here and there."""
    place = int(score * parts)
    if (place + 1) / parts <= score:
        return place + 1
    return place if place / parts <= score else place - 1


def _passing(answers: Sequence[_Labelled], accept_at: float) -> int:
    return sum(one.passes(accept_at) for one in answers)


def _counts(point: Point) -> tuple[int, int, int]:
    return point.false_accepts.count, point.true_accepts.count, point.accepted.count
