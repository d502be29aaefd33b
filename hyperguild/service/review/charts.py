"""Where the lines and points of a plot go. Both axes run from 0 to 1; the drawing scales with the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperguild.review.calibration import Calibration, Point
from hyperguild.review.intervals import Rate

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 38
"""Units of the drawing; what is around the plot is room for figures."""

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
SMALLEST, LARGEST = 3.0, 8.0
"""Radius of a point of few answers, and of one of most."""


def at_x(value: float) -> float:
    """Return where a value is on the horizontal axis."""
    return round(LEFT + value * (WIDTH - LEFT - RIGHT), 1)


def at_y(value: float) -> float:
    """Return where a value is on the vertical axis, which points up."""
    return round(TOP + (1 - value) * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with its interval, as large as what it stands for."""

    x: float
    y: float
    low_y: float
    high_y: float
    radius: float
    says: str


@dataclass(frozen=True, slots=True)
class CalibrationPlots:
    """Two plots: of the scores, and of what each threshold would do. Paths are SVG's."""

    dots: tuple[Dot, ...]
    false_accepts: str
    true_accepts: str
    now_x: float | None
    proposal_x: float | None


def calibration_plots(calibration: Calibration) -> CalibrationPlots:
    """Lay out the plots of one judge and skill."""
    most = max((bin_.good.of for bin_ in calibration.reliability), default=1)
    dots = [
        Dot(
            x=at_x(bin_.mean_score),
            y=at_y(bin_.good.share or 0.0),
            low_y=at_y(bin_.good.low),
            high_y=at_y(bin_.good.high),
            radius=round(SMALLEST + (LARGEST - SMALLEST) * (bin_.good.of / most) ** 0.5, 1),
            says=f"{bin_.good.count} of {bin_.good.of} good at a mean score of {bin_.mean_score:.2f}",
        )
        for bin_ in calibration.reliability
    ]
    now, proposal = calibration.now, calibration.proposal
    return CalibrationPlots(
        dots=tuple(dots),
        false_accepts=_stairs(calibration.curve, [point.false_accepts for point in calibration.curve]),
        true_accepts=_stairs(calibration.curve, [point.true_accepts for point in calibration.curve]),
        now_x=None if now is None else at_x(now.accept_at),
        proposal_x=None if proposal is None else at_x(proposal.accept_at),
    )


def _stairs(points: Sequence[Point], rates: Sequence[Rate]) -> str:
    """Return a path that steps from rate to rate at each threshold; empty where a rate is of nothing."""
    if not points or any(rate.share is None for rate in rates):
        return ""
    ends = [*(point.accept_at for point in points[1:]), 1.0]
    steps = []
    for index, (point, rate, end) in enumerate(zip(points, rates, ends, strict=True)):
        y = at_y(rate.share or 0.0)
        steps.append(f"{f'M{at_x(point.accept_at)} {y}' if index == 0 else f'V{y}'}H{at_x(end)}")
    return "".join(steps)
