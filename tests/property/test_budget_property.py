"""Whatever is reserved, settled and given back in whatever order: no limit is ever exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.limits import UNITS, Amount, Standing
from hyperguild.resilience.budget import Account

LIMITS = {"cost_usd": 1.0, "tokens": 1000.0, "attempts": 8.0}
ASK = st.builds(
    Amount,
    cost_usd=st.one_of(st.none(), st.floats(0, 0.6), st.floats(0, 1.2)),
    tokens=st.one_of(st.integers(0, 300), st.integers(0, 1200)),
    attempts=st.integers(0, 2),
)
END = st.tuples(st.integers(0, 30), st.sampled_from([0.0, 0.3, 1.0]))
"""Which of the calls under way ends, and how much of what it reserved it has used."""


@given(st.lists(st.one_of(ASK, END), max_size=40))
def test_no_limit_is_exceeded_and_nothing_is_lost(steps: list[Amount | tuple[int, float]]) -> None:
    account = Account([Standing("day", unit, LIMITS[unit]) for unit in UNITS])
    under_way: dict[str, Amount] = {}
    spent: list[Amount] = []
    for number, step in enumerate(steps):
        before = account.standings
        if isinstance(step, Amount):
            refused = account.reserve(str(number), step)
            if refused is None:
                under_way[str(number)] = step
            else:
                asked = step.of(refused.standing.unit)
                assert asked is None or asked > refused.standing.left
                assert account.standings == before
        elif under_way:
            place, share = step
            key = list(under_way)[place % len(under_way)]
            ask = under_way.pop(key)
            used = Amount((ask.cost_usd or 0) * share, int(ask.tokens * share), ask.attempts)
            account.settle(key, used)
            account.settle(key, Amount(1.0, 1000, 8))  # it is not there any more
            spent.append(used)
        for standing in account.standings:
            by_hand = (
                sum(used.of(standing.unit) or 0 for used in spent),
                sum(ask.of(standing.unit) or 0 for ask in under_way.values()),
            )
            assert (standing.spent, standing.reserved) == pytest.approx(by_hand, abs=1e-6)
            assert sum(by_hand) <= standing.limit + 1e-6
