"""What decide does about limits that runs share, and about tokens; what a meter asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import attempt, chain, cloud_model, local_model, tier

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.domain.chain import Budget, Judge, VerifierSpec
from hyperguild.domain.limits import Allotment, Amount, Limits, Refusal, Standing
from hyperguild.domain.messages import Image, Message, ModelRequest
from hyperguild.domain.usage import Price, Usage
from hyperguild.errors import BudgetRefusedError, StoreError
from hyperguild.orchestration.decide import GiveUp, Situation, Skip, Try, decide, worst_amount
from hyperguild.orchestration.metering import IMAGE_TOKENS, Payer, RunMeter, most
from hyperguild.orchestration.remedies import remedies, remedy

DEAR = tier(0, cloud_model("dear", price=Price(3.0, 15.0), max_output_tokens=1000))
LOCAL = tier(1, local_model("phi4"), verify=False)
DAY = Standing("day", "cost_usd", 5.0, spent=4.9, reserved=0.09)


def decision(*attempts: Any, **fields: Any) -> Any:
    return decide(Situation(chain(DEAR, LOCAL), tuple(attempts), **fields))


def test_a_tier_that_cannot_fit_is_skipped_and_says_what_was_left() -> None:
    got = decision(standings=(DAY,), prompt_tokens=1000)
    assert (got.tier, got.cause, got.refused) == (DEAR, "budget", (Refusal(DAY, 0.018),))
    assert got.reason == "the day's limit of $5: $0.01 left, dear may cost up to $0.018"


def test_all_limits_that_refuse_a_tier_are_named_and_no_others() -> None:
    session = Standing("session", "attempts", 2, spent=2)
    roomy = Standing("session", "tokens", 10**9)
    got = decision(standings=(session, roomy, DAY), prompt_tokens=1000)
    assert got.refused == (Refusal(session, 1), Refusal(DAY, 0.018))
    assert got.reason == (
        "the session's limit of 2 attempts: 0 left; "
        "the day's limit of $5: $0.01 left, dear may cost up to $0.018"
    )
    assert remedies([*got.refused, *got.refused]) == (
        "raise limits.session.attempts of chains.yaml, or begin another session; "
        "raise limits.day.cost_usd of chains.yaml, or wait for the next day (UTC)"
    )


def test_the_budget_of_the_chain_is_one_of_the_limits() -> None:
    poor = chain(DEAR, LOCAL, budget=Budget(cost_usd=0.01))
    (refused,) = decide(Situation(poor, prompt_tokens=1000)).refused  # type: ignore[union-attr]
    assert remedy(refused) == "raise --max-cost, budget.cost_usd of the chain, or limits.run.cost_usd"


def test_a_local_tier_is_never_over_a_limit_in_usd() -> None:
    skipped = attempt(0, "skip", cause="budget", model="dear")
    got = decision(skipped, standings=(DAY,), warm_state="ready", prompt_tokens=1000)
    assert isinstance(got, Try)
    assert got.tier is LOCAL


def test_tokens_and_attempts_hold_local_tiers_back_too() -> None:
    skipped = attempt(0, "skip", cause="budget", model="dear")
    for standing in (Standing("run", "tokens", 5000), Standing("session", "attempts", 3, spent=3)):
        got = decision(skipped, standings=(standing,), warm_state="ready", prompt_tokens=1000)
        assert isinstance(got, Skip)
        assert [one.standing for one in got.refused] == [standing]


def test_a_chain_that_a_limit_kept_from_an_answer_is_over_its_budget() -> None:
    skips = [attempt(0, "skip", cause="budget"), attempt(1, "skip", cause="budget")]
    assert decision(*skips) == GiveUp("budget_exceeded", None)


def test_the_verdicts_are_part_of_what_a_try_may_take() -> None:
    judged = VerifierSpec("v", judge=Judge((local_model("judge", max_output_tokens=10),), votes=3))
    own = tier(0, local_model("m", max_output_tokens=50))
    assert worst_amount(chain(own, verifier=judged), own, 100) == Amount(0.0, 150 + 3 * 160, attempts=1)


def test_a_call_asks_for_its_prompt_and_its_longest_answer() -> None:
    model = cloud_model(price=Price(1.0, 2.0, cache_write=4.0), max_output_tokens=100)
    ask = most(ModelRequest(model, (Message("user", "x" * 4000),)), attempts=1)
    prompt = ask.tokens - 100
    assert 1000 <= prompt <= 1010
    # Anthropic bills what it writes to its cache: the dearest way to send the prompt counts.
    assert ask.cost_usd == pytest.approx((prompt * 4 + 100 * 2) / 1e6)
    assert ask.attempts == 1
    pictured = ModelRequest(model, (Message("user", "x" * 4000, (Image("image/png", ""),) * 2),))
    assert most(pictured).tokens == ask.tokens + 2 * IMAGE_TOKENS
    assert most(ModelRequest(cloud_model(), ())).cost_usd is None


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (Refusal(DAY, 1.0), "raise limits.day.cost_usd of chains.yaml, or wait for the next day (UTC)"),
        (Refusal(DAY, None), "give the model a price in chains.yaml"),
        (
            Refusal(Standing("run", "tokens", 1), 2),
            "raise budget.tokens of the chain, or limits.run.tokens",
        ),
        (
            Refusal(Standing("session", "attempts", 1), 1),
            "raise limits.session.attempts of chains.yaml, or begin another session",
        ),
    ],
)
def test_every_refusal_has_a_remedy(refused: Refusal, words: str) -> None:
    assert remedy(refused) == words


class Books:
    """A `Ledger` that writes down what it is told."""

    def __init__(self, *standings: Standing, busy: bool = False) -> None:
        self._standings = standings
        self.busy = busy
        self.told: list[tuple[str, Amount]] = []
        self.on_record: list[bool] = []

    async def reserve(self, run_id: str, key: str, ask: Amount, limits: Limits) -> Refusal | None:
        del key, limits
        self.told.append((f"{run_id} asks", ask))
        return None

    async def settle(self, key: str, run_id: str, used: Amount, *, on_record: bool = False) -> None:
        del key
        self.told.append((f"{run_id} used", used))
        self.on_record.append(on_record)
        if self.busy:
            raise StoreError("the log is busy")

    async def standings(self, session_id: str | None, limits: Limits) -> tuple[Standing, ...]:
        del session_id, limits
        return self._standings


SHARED = Limits(day=Allotment(attempts=1, tokens=10_000))
REQUEST = ModelRequest(local_model("m", max_output_tokens=600), (Message("user", "hello"),))
IDS = system_ids(SystemClock())


def run_meter(run_id: str, tokens: int | None, books: Books, parent: RunMeter | None = None) -> RunMeter:
    payer = Payer(run_id, "s", delegated=parent is not None)
    meter = RunMeter.of_run(payer, (tokens, 0), parent, (books, SHARED), IDS)
    assert meter is not None
    return meter


async def test_a_delegated_run_spends_of_its_parents_tokens_and_its_attempts_are_its_parents() -> None:
    books = Books(Standing("day", "attempts", 1, spent=1), Standing("day", "tokens", 10_000))
    parent = run_meter("parent", 1000, books)
    child = run_meter("child", None, books, parent)
    for meter in (parent, child):
        meter.begin_attempt()
    async with parent.spending(REQUEST, lambda: Usage(input_tokens=5, output_tokens=400)):
        with pytest.raises(BudgetRefusedError, match=r"limit of 1000 tokens: 39\d left"):
            async with child.spending(REQUEST, Usage):
                pytest.fail("it is not allowed")
    assert [one.unit for one in await parent.standings()] == ["tokens", "attempts", "tokens"]
    assert [one.unit for one in await child.standings()] == ["tokens", "tokens"]
    assert (await child.standings())[0].left == 595
    assert [told for told, _ in books.told] == ["parent asks", "parent used"]
    assert [amount.attempts for _, amount in books.told] == [1, 1]


async def test_an_attempt_counts_with_its_first_call_and_a_busy_log_costs_no_answer() -> None:
    books = Books(busy=True)
    meter = run_meter("r", None, books)
    meter.begin_attempt()
    for _ in range(2):
        async with meter.spending(REQUEST, Usage):
            pass
    assert [amount.attempts for told, amount in books.told if told == "r asks"] == [1, 0]


async def test_hedge_and_the_attempt_beside_it_are_two_attempts_and_share_the_budget_in_usd() -> None:
    books = Books()
    dear = replace(REQUEST, model=cloud_model("m", price=Price(0.0, 1000.0), max_output_tokens=600))
    purse = Standing("run", "cost_usd", 1.0)
    meter = RunMeter.of_run(Payer("r", "s"), (None, 0), None, (books, SHARED), IDS, purse)
    assert meter is not None
    meter.begin_attempt()
    meter.begin_attempt(beside=True)
    async with meter.spending(dear, lambda: Usage(output_tokens=300)):
        with pytest.raises(BudgetRefusedError, match=r"the run's limit of \$1: \$0\.40 left"):
            async with meter.spending(dear, Usage):
                pytest.fail("both together are over the budget")
    async with meter.spending(dear, Usage):
        pass
    asks = [amount.attempts for told, amount in books.told if told == "r asks"]
    assert asks == [2, 0]
    assert [one.unit for one in await meter.standings()] == []


async def test_what_a_busy_log_did_not_settle_is_settled_as_soon_as_it_can_be() -> None:
    books = Books(busy=True)
    meter = run_meter("r", None, books)
    for used in (Usage(input_tokens=5), Usage(input_tokens=7)):
        async with meter.spending(REQUEST, used.model_copy):
            pass

    def settled() -> list[int]:
        return [amount.tokens for told, amount in books.told if told == "r used"]

    assert settled() == [5, 5, 7], "once at its end, again before the next call"
    books.busy = False
    await meter.standings()
    assert settled() == [5, 5, 7, 5, 7]
    async with meter.spending(REQUEST, Usage):
        pass
    assert settled() == [5, 5, 7, 5, 7, 0], "nothing is settled twice"
    assert books.on_record == [False] * 3 + [True] * 2 + [False], "between attempts all is on record"


async def test_what_takes_nothing_of_a_limited_unit_is_not_written_down() -> None:
    books = Books()
    only_usd = Limits(day=Allotment(cost_usd=1))
    meter = RunMeter.of_run(Payer("r", "s"), (None, 0), None, (books, only_usd), IDS)
    assert meter is not None
    async with meter.spending(REQUEST, Usage):
        pass
    assert books.told == []


def test_without_limits_there_is_no_meter() -> None:
    assert RunMeter.of_run(Payer("r", "s"), (None, 0), None, None, IDS) is None
