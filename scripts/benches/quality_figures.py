"""The figures of the quality bench: from what became of each prompt to accuracies, shares and intervals.

Pure: nothing here reads a file, a clock or a model. Everything counts whole runs; an answer is right where it
equals the true one, character for character.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959964
"""The two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one prompt.

    `first` is the answer of the first tier, `final` that of the run ("" where it has none). `escalated` says
    whether a second tier was asked; `score` is the judge's for the first answer, None without a judge.
    """

    truth: str
    first: str
    final: str
    escalated: bool = False
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; 0 of nothing is 0."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval (95 %), which stays within 0 and 1; of nothing, all of that."""
        if not self.total:
            return 0.0, 1.0
        squared = Z_95**2
        centre = self.value + squared / (2 * self.total)
        half = Z_95 * math.sqrt(
            self.value * (1 - self.value) / self.total + squared / (4 * self.total * self.total)
        )
        scale = 1 + squared / self.total
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """What a chain with a verifier comes to.

    `strong` counts the runs that called the second tier, `false_accepts` is of the wrong first answers,
    `false_refusals` of the right ones.
    """

    right: Share
    strong: Share
    false_accepts: Share
    false_refusals: Share


def right_answers(outcomes: Sequence[Outcome]) -> Share:
    """Count the runs that ended with the true answer."""
    return Share(sum(one.final == one.truth for one in outcomes), len(outcomes))


def chain_figures(outcomes: Sequence[Outcome]) -> ChainFigures:
    """Return what the chain's own runs say of it and of its verifier."""
    wrong = [one for one in outcomes if one.first != one.truth]
    right = [one for one in outcomes if one.first == one.truth]
    return ChainFigures(
        right=right_answers(outcomes),
        strong=Share(sum(one.escalated for one in outcomes), len(outcomes)),
        false_accepts=Share(sum(not one.escalated for one in wrong), len(wrong)),
        false_refusals=Share(sum(one.escalated for one in right), len(right)),
    )


def perfect_figures(weak: Sequence[Outcome], strong: Sequence[Outcome]) -> ChainFigures:
    """Return what a verifier that errs never would come to, from the answers of each tier alone.

    Both hold the same prompts in the same order; raises `ValueError` where their numbers differ.
    """
    return chain_figures(
        [
            Outcome(
                one.truth,
                one.first,
                other.final if one.first != one.truth else one.first,
                one.first != one.truth,
            )
            for one, other in zip(weak, strong, strict=True)
        ]
    )


def random_accuracy(weak: float, strong: float, share: float) -> float:
    """Return the expected accuracy where a share of the runs, drawn by lot, goes to the strong tier."""
    return (1 - share) * weak + share * strong


def differing(walks: Sequence[Sequence[object]]) -> int:
    """Count the prompts for which the walks do not all say the same; all hold the prompts in the same order.

    Raises `ValueError` where their numbers differ.
    """
    return sum(len(set(said)) > 1 for said in zip(*walks, strict=True))


def digest(walks: Sequence[Sequence[Outcome]]) -> str:
    """Return twelve hexadecimal digits that stand for every answer, score and escalation of the walks."""
    said = [[[one.first, one.final, one.escalated, one.score] for one in walk] for walk in walks]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
