"""Shares and means with their 95 % intervals. Nothing is drawn: the same figures come out every time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from hyperguild.review.intervals import CONFIDENCE, wilson

Z_95 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share or a mean over `n` tasks, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float
    n: int


def share(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values between 0 and 1 with its Wilson interval; None where there are none."""
    n = len(values)
    if n == 0:
        return None
    total = math.fsum(values)
    low, high = wilson(total, n, Z_95)
    return Estimate(total / n, low, high, n)


def mean(values: Sequence[float]) -> Estimate | None:
    """Return the mean with its normal interval; None where there are no values. One value has no width."""
    n = len(values)
    if n == 0:
        return None
    value = math.fsum(values) / n
    variance = math.fsum((one - value) ** 2 for one in values) / (n - 1) if n > 1 else 0.0
    reach = Z_95 * math.sqrt(variance / n)
    return Estimate(value, value - reach, value + reach, n)
