"""What may be begun beside an attempt, under every situation that a walk can be in."""

from __future__ import annotations

from typing import Any

from builders import attempt, chain, cloud_model, local_model, tier
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.chain import Budget
from hyperguild.domain.limits import Standing
from hyperguild.domain.usage import Price
from hyperguild.orchestration.decide import (
    Ahead,
    Probe,
    Situation,
    Speculate,
    Wait,
    decide_beside,
    next_tier,
    worst_amount,
)

MODELS = st.sampled_from(
    [
        local_model("a"),
        local_model("b", price=Price(1.0, 1.0)),
        local_model("c", context_window=50),
        cloud_model("d", price=Price(1.0, 2.0)),
        cloud_model("e"),
    ]
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    tiers = [
        tier(
            position,
            draw(MODELS),
            when_cold=draw(st.sampled_from(["wait", "skip", "hedge"])),
            hedge_after_s=draw(st.sampled_from([0.0, 2.0])),
            speculate=draw(st.booleans()),
            attempts=draw(st.integers(1, 2)),
        )
        for position in range(draw(st.integers(1, 3)))
    ]
    budget = Budget(
        cost_usd=draw(st.none() | st.floats(0.001, 0.1)),
        seconds=draw(st.none() | st.floats(1, 100)),
        attempts=draw(st.none() | st.integers(1, 3)),
        tokens=draw(st.none() | st.integers(5_000, 20_000)),
    )
    walked = chain(*tiers, budget=budget)
    position = draw(st.integers(0, len(tiers) - 1))
    prompt_tokens = draw(st.integers(0, 5_000))
    tokens = Standing("run", "tokens", budget.tokens, spent=100) if budget.tokens else None
    return Situation(
        walked,
        tuple(attempt(at, model=tiers[at].model.name) for at in range(position)),
        warm_state=draw(st.sampled_from([None, "ready", "starting", "cold", "unknown"])),
        task_tokens=draw(st.integers(0, 100)),
        prompt_tokens=prompt_tokens,
        elapsed_s=draw(st.floats(0, 50)),
        spent_usd=draw(st.floats(0, 0.05)),
        breakers=draw(st.sampled_from([{}, {"d": "open"}])),
        standings=() if tokens is None else (tokens,),
        ahead=Ahead(
            tiers[position],
            draw(st.sampled_from(["cold", "answering", "judged"])),
            draw(st.floats(0, 4)),
            worst_amount(walked, tiers[position], prompt_tokens),
        ),
    )


@given(situations())
def test_i4_and_hedge_are_begun_only_where_they_can_do_no_harm(situation: Situation) -> None:
    decision, ahead, walked = decide_beside(situation), situation.ahead, situation.chain
    assert ahead is not None
    assert decide_beside(situation) == decision, "deciding is pure"
    if isinstance(decision, Wait):
        assert decision.for_s is None or 0 < decision.for_s <= ahead.tier.hedge_after_s
        return
    second = decision.tier if isinstance(decision, Probe) else decision.second.tier
    assert second.position == ahead.tier.position + 1
    if ahead.phase == "judged":
        assert isinstance(decision, Probe) or decision.kind == "tier"
        assert ahead.tier.speculate
        assert ahead.tier.verify
        assert ahead.tier.attempts == 1, "else it is the same tier that is tried next"
    else:
        assert isinstance(decision, Probe) or decision.kind == "hedge"
        assert (ahead.phase, ahead.tier.when_cold) == ("cold", "hedge")
        assert ahead.elapsed_s >= ahead.tier.hedge_after_s
        assert second.model.name != ahead.tier.model.name
    assert second.model.name not in situation.breakers
    if isinstance(decision, Probe):
        assert situation.warm_state is None, "a tier is probed once"
        return
    assert not second.probed or situation.warm_state in {"ready", "unknown"}
    takes = worst_amount(walked, second, situation.prompt_tokens)
    budget = walked.budget
    if budget.cost_usd is not None and takes.cost_usd:
        both = situation.spent_usd + (ahead.takes.cost_usd or 0.0) + takes.cost_usd
        assert both <= budget.cost_usd + 1e-9
        assert decision.second.cost_left_usd is not None
        assert decision.second.cost_left_usd + decision.second.verdict_usd <= (
            budget.cost_usd - situation.spent_usd - (ahead.takes.cost_usd or 0.0) + 1e-9
        )
    if budget.tokens is not None:
        assert 100 + ahead.takes.tokens + takes.tokens <= budget.tokens
    if budget.attempts is not None:
        assert len(situation.attempts) + 2 <= budget.attempts
    if budget.seconds is not None:
        assert situation.elapsed_s < budget.seconds


def test_hedge_is_decided_at_all() -> None:
    hedged = chain(tier(0, local_model("a"), when_cold="hedge", hedge_after_s=2.0), tier(1, cloud_model("d")))
    ahead = Ahead(hedged.tiers[0], "cold", 0.5, worst_amount(hedged, hedged.tiers[0], 10))
    assert decide_beside(Situation(hedged, ahead=ahead)) == Wait(1.5)
    decision = decide_beside(Situation(hedged, ahead=Ahead(hedged.tiers[0], "cold", 2.0, ahead.takes)))
    assert isinstance(decision, Speculate)
    assert decision.second.tier is hedged.tiers[1]


@given(st.permutations([0, 1, 1, 2]), st.integers(1, 3))
def test_the_next_tier_does_not_depend_on_who_of_two_ended_first(order: Any, tries: int) -> None:
    walked = chain(*(tier(position, attempts=tries) for position in range(4)))
    tried = [attempt(position) for position in order]
    assert next_tier(walked, tried) is walked.tiers[2 if tries > 1 else 3]


def test_i4_is_decided_at_all() -> None:
    walked = chain(tier(0, local_model("a"), speculate=True, attempts=2), tier(1, cloud_model("d")))
    ahead = Ahead(walked.tiers[0], "judged", 0.5, worst_amount(walked, walked.tiers[0], 10))
    assert decide_beside(Situation(walked, ahead=ahead)) == Wait()
    decision = decide_beside(Situation(walked, (attempt(0, model="a"),), ahead=ahead))
    assert isinstance(decision, Speculate)
    assert (decision.kind, decision.second.tier) == ("tier", walked.tiers[1])
