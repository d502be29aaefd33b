"""What a limit grants and refuses, and in which words."""

from __future__ import annotations

import pytest

from hyperguild.domain.limits import Amount, Refusal, Standing
from hyperguild.resilience.budget import Account, refusal

FIVE_DOLLARS = Standing("day", "cost_usd", 5.0, spent=4.0, reserved=0.88)


def test_what_fits_is_granted_and_what_does_not_is_refused_with_what_was_left() -> None:
    assert refusal(Amount(0.12), [FIVE_DOLLARS]) is None
    refused = refusal(Amount(0.3), [FIVE_DOLLARS])
    assert refused == Refusal(FIVE_DOLLARS, 0.3)
    assert refused.text("this call") == "the day's limit of $5: $0.12 left, this call may cost up to $0.30"


@pytest.mark.parametrize(
    ("standing", "ask", "text"),
    [
        (
            Standing("session", "tokens", 20_000, spent=18_800),
            Amount(tokens=5000),
            "the session's limit of 20000 tokens: 1200 left, m may use up to 5000",
        ),
        (Standing("day", "attempts", 1, spent=1), Amount(attempts=1), "the day's limit of 1 attempt: 0 left"),
        (FIVE_DOLLARS, Amount(None), "the day's limit of $5 cannot be held: m has no price"),
    ],
)
def test_a_refusal_in_words(standing: Standing, ask: Amount, text: str) -> None:
    refused = refusal(ask, [standing])
    assert refused is not None
    assert refused.text("m") == text


def test_what_is_free_is_never_over_a_spent_limit() -> None:
    overspent = Standing("day", "cost_usd", 5.0, spent=9.0)
    assert overspent.left == 0
    assert refusal(Amount(0.0, tokens=10), [overspent]) is None
    assert refusal(Amount(1e-4), [overspent]) is not None


def test_an_unknown_cost_is_no_matter_where_money_has_no_limit() -> None:
    assert refusal(Amount(None, tokens=1), [Standing("day", "tokens", 10)]) is None


def test_sums_of_floats_do_not_refuse_the_last_cent() -> None:
    account = Account([Standing("run", "cost_usd", 0.3)])
    assert [account.reserve(str(number), Amount(0.1)) for number in range(3)] == [None] * 3
    assert account.reserve("one more", Amount(0.001)) is not None


def test_settling_gives_back_what_was_not_used_and_only_once() -> None:
    account = Account([Standing("run", "tokens", 100, spent=10)])
    assert account.reserve("a", Amount(tokens=90)) is None
    assert account.reserve("b", Amount(tokens=1)) is not None
    for _ in range(2):
        account.settle("a", Amount(tokens=20))
    (standing,) = account.standings
    assert (standing.spent, standing.reserved, standing.left) == (30, 0, 70)
    assert account.reserve("b", Amount(tokens=70)) is None


def test_what_was_used_beyond_the_reservation_counts() -> None:
    account = Account([Standing("run", "tokens", 100)])
    assert account.reserve("a", Amount(tokens=90)) is None
    account.settle("a", Amount(tokens=130))
    assert account.standings[0].left == 0
    assert account.reserve("b", Amount(tokens=1)) is not None


def test_a_key_is_reserved_once() -> None:
    account = Account([Standing("run", "tokens", 100)])
    account.reserve("a", Amount(tokens=1))
    with pytest.raises(ValueError, match="reserved already"):
        account.reserve("a", Amount(tokens=1))


def test_what_an_earlier_process_used_counts() -> None:
    account = Account([Standing("run", "tokens", 1000)])
    account.count(Amount(tokens=900))
    assert account.reserve("k", Amount(tokens=200)) is not None
    assert account.standings[0].left == 100
