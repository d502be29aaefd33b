"""Shares with how sure they are: Wilson's score interval.

E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927): the
shares p for which the observed one is within z standard errors of p, sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from hyperguild.domain.records import Record

CONFIDENCE = 0.95
"""Where nothing else is asked for."""


class Rate(Record):
    """`count` of `of`, as a share (null where `of` is 0), between the ends of its interval (then 0 and 1)."""

    count: int
    of: int
    share: float | None
    low: float
    high: float

    @classmethod
    def made(cls, count: int, of: int, confidence: float = CONFIDENCE) -> Rate:
        """Return the rate with its two-sided interval; `confidence` is between 0 and 1."""
        if not of:
            return cls(count=count, of=of, share=None, low=0.0, high=1.0)
        low, high = wilson(count, of, NormalDist().inv_cdf((1 + confidence) / 2))
        return cls(count=count, of=of, share=count / of, low=low, high=high)


def upper_bound(count: int, of: int, confidence: float) -> float:
    """Return the share that the true one is below with this confidence (one-sided); 1 where `of` is 0.

    `confidence` is at least 0.5: below, a bound would be no upper one.
    """
    return wilson(count, of, NormalDist().inv_cdf(confidence))[1] if of else 1.0


def trials_needed(share: float, bound: float, confidence: float) -> int:
    """Return of how many a share must have been seen for its upper bound to be `bound`, which is larger."""
    z = NormalDist().inv_cdf(confidence)
    return math.ceil(z * z * bound * (1 - bound) / (bound - share) ** 2)


def wilson(count: float, of: int, z: float) -> tuple[float, float]:
    """Return the ends of the interval of `count` of `of` (not 0), z standard errors to either side."""
    share, spread = count / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # Rounding must not put an end on the wrong side of what was seen.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)
