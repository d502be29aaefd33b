from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.review.intervals import Rate, trials_needed, upper_bound

TWO_SIDED = {0.8: 1.2815515655446004, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}
"""Quantiles of the normal distribution, as tables have them; one-sided at the half of what is left."""


def roots(count: float, of: int, z: float) -> tuple[float, float]:
    """Solve Wilson's equation (share - p)² = z² p (1 - p) / n for p."""
    share, spread = count / of, z * z / of
    low, high = sorted(np.roots([1 + spread, -2 * share - spread, share * share]).real)
    return float(low), float(high)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 1), (0, 40), (3, 40), (20, 40), (40, 40), (999, 1000)])
def test_intervals_solve_wilsons_equation(count: int, of: int, confidence: float) -> None:
    rate = Rate.made(count, of, confidence)
    assert (rate.count, rate.of, rate.share) == (count, of, count / of)
    assert (rate.low, rate.high) == pytest.approx(roots(count, of, TWO_SIDED[confidence]), abs=1e-7)


def test_published_values() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3."""
    for (count, of), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        rate = Rate.made(count, of)
        assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-5)


def test_of_nothing_everything_is_possible() -> None:
    assert Rate.made(0, 0) == Rate(count=0, of=0, share=None, low=0.0, high=1.0)
    assert upper_bound(0, 0, 0.95) == 1.0


def test_one_sided_bounds_are_those_of_the_two_sided_interval_at_twice_what_is_left() -> None:
    assert upper_bound(3, 40, 0.975) == pytest.approx(Rate.made(3, 40, 0.95).high)


@given(
    st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), st.floats(0.5, 0.999)
)
def test_an_interval_contains_what_was_seen(pair: tuple[int, int], confidence: float) -> None:
    rate = Rate.made(*pair, confidence)
    assert rate.share is not None
    assert 0 <= rate.low <= rate.share <= rate.high <= 1
    assert upper_bound(*pair, confidence) >= rate.share


@pytest.mark.parametrize(("count", "of", "bound"), [(0, 1, 0.05), (0, 1, 0.2), (1, 40, 0.05), (3, 40, 0.1)])
def test_so_many_trials_are_needed_and_no_fewer(count: int, of: int, bound: float) -> None:
    share = count / of
    needed = trials_needed(share, bound, 0.95)
    assert roots(needed * share, needed, 1.6448536269514722)[1] <= bound
    assert roots((needed - 1) * share, needed - 1, 1.6448536269514722)[1] > bound


def test_fifty_two_clean_answers_show_five_percent() -> None:
    assert trials_needed(0, 0.05, 0.95) == 52
    assert upper_bound(0, 52, 0.95) <= 0.05 < upper_bound(0, 51, 0.95)
