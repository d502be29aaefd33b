"""The policy of the chain, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from builders import attempt, chain, cloud_model, local_model, tier

from hyperguild.domain.chain import Budget, Judge, VerifierSpec
from hyperguild.domain.records import Cause, ErrorInfo
from hyperguild.domain.usage import Price
from hyperguild.orchestration.decide import (
    UNANSWERED,
    Accept,
    GiveUp,
    Probe,
    Situation,
    Skip,
    Try,
    best_attempt,
    decide,
    worst_cost_usd,
)

CLOUD = tier(1, cloud_model(price=Price(3.0, 15.0), max_output_tokens=1000))
TWO = chain(tier(0), CLOUD)


def decision(chain_: Any = TWO, *attempts: Any, **fields: Any) -> Any:
    return decide(Situation(chain_, tuple(attempts), **fields))


def test_a_llama_swap_tier_is_probed_before_it_is_tried() -> None:
    assert decision() == Probe(TWO.tiers[0])
    assert decision(TWO, warm_state="ready") == Try(TWO.tiers[0], None)


@pytest.mark.parametrize("state", ["ready", "starting", "cold", "unknown"])
def test_wait_tries_in_every_state(state: Any) -> None:
    assert isinstance(decision(TWO, warm_state=state), Try)


@pytest.mark.parametrize(
    ("state", "kind"), [("ready", Try), ("starting", Skip), ("cold", Skip), ("unknown", Try)]
)
def test_skip_passes_over_what_is_not_ready(state: Any, kind: type) -> None:
    picky = chain(tier(0, when_cold="skip"), CLOUD)
    got = decision(picky, warm_state=state)
    assert isinstance(got, kind)
    if isinstance(got, Skip):
        assert got.cause == "cold"


def test_the_last_tier_is_never_skipped_for_being_cold() -> None:
    assert isinstance(decision(chain(tier(0, when_cold="skip")), warm_state="cold"), Try)


def test_a_cloud_tier_is_not_probed() -> None:
    assert decision(TWO, attempt(0)) == Try(CLOUD, None)


def test_an_accepted_answer_ends_the_walk() -> None:
    good = attempt(0, "accept", answer="yes")
    assert decision(TWO, good) == Accept(good)


def test_a_tier_with_several_attempts_is_tried_again_when_refused() -> None:
    twice = chain(tier(0, attempts=2), CLOUD)
    assert decision(twice, attempt(0), warm_state="ready").tier.position == 0
    assert decision(twice, attempt(0), attempt(0)).tier.position == 1


@pytest.mark.parametrize("cause", ["verifier_error", "budget"])
def test_a_failed_verifier_is_not_asked_about_the_same_tier_again(cause: Any) -> None:
    twice = chain(tier(0, attempts=2), CLOUD)
    assert decision(twice, attempt(0, cause=cause)).tier.position == 1


def test_what_failed_too_often_is_passed_over_before_it_is_probed() -> None:
    out = {"model-0": "the endpoint is out; it is tried again in 25 s"}
    assert decision(breakers=out) == Skip(TWO.tiers[0], "breaker_open", out["model-0"])
    last = chain(tier(0))
    assert isinstance(decision(last, breakers=out), Skip), "the last tier, too"
    assert decision(last, attempt(0, "skip", cause="breaker_open"), breakers=out).status == "exhausted"


def test_a_model_that_erred_is_not_tried_again() -> None:
    same = local_model("phi4")
    repeated = chain(tier(0, same, attempts=3), tier(1, same), CLOUD)
    failed = attempt(0, "error", model="phi4")
    got = decision(repeated, failed, warm_state="ready")
    assert isinstance(got, Skip)
    assert (got.tier.position, got.cause) == (1, "server")


def test_the_attempts_budget_ends_the_walk_and_skips_do_not_count() -> None:
    tight = chain(tier(0), tier(1), tier(2), budget=Budget(attempts=1))
    skip = attempt(0, "skip", model="a")
    assert isinstance(decision(tight, skip, warm_state="ready"), Try)
    got = decision(tight, skip, attempt(1, model="b"))
    assert isinstance(got, GiveUp)
    assert got.status == "budget_exceeded"


def test_a_spent_budget_does_not_turn_an_exhausted_chain_into_another_status() -> None:
    got = decision(chain(tier(0), budget=Budget(attempts=1)), attempt(0))
    assert isinstance(got, GiveUp)
    assert got.status == "exhausted"


def test_a_deadline_that_passed_in_the_last_tier_is_a_spent_budget() -> None:
    timed = chain(tier(0), budget=Budget(seconds=10), on_exhausted="best")
    got = decision(timed, attempt(0), elapsed_s=10)
    assert isinstance(got, GiveUp)
    assert got.status == "budget_exceeded"


def test_the_judge_is_part_of_what_a_try_may_cost() -> None:
    judge = Judge((cloud_model("judge", price=Price(1000.0, 1000.0)),), votes=2)
    judged = chain(tier(0), verifier=VerifierSpec("v", judge=judge), budget=Budget(cost_usd=0.01))
    cost = worst_cost_usd(judged, judged.tiers[0], 100)
    assert cost == pytest.approx(2 * ((100 + 4096) + 4096) * 1000 / 1e6)
    got = decision(judged)
    assert isinstance(got, Skip)
    assert got.cause == "budget"


def test_an_attempt_that_the_deadline_left_unjudged_is_kept_as_best() -> None:
    timed = chain(tier(0), budget=Budget(seconds=10))
    unjudged = attempt(0, cause="budget")
    assert decision(timed, unjudged, elapsed_s=9) == GiveUp("budget_exceeded", unjudged)


def test_the_deadline_bounds_the_try_and_then_ends_the_walk() -> None:
    timed = chain(tier(0), CLOUD, budget=Budget(seconds=10))
    assert decision(timed, elapsed_s=4, warm_state="ready") == Try(timed.tiers[0], 6)
    got = decision(timed, attempt(0), elapsed_s=10)
    assert isinstance(got, GiveUp)
    assert got.status == "budget_exceeded"


def test_a_tier_that_may_cost_more_than_is_left_is_skipped() -> None:
    poor = chain(tier(0), CLOUD, budget=Budget(cost_usd=0.01))
    got = decision(poor, attempt(0), prompt_tokens=10)
    assert isinstance(got, Skip)
    assert got.cause == "budget"
    over = decision(poor, attempt(0), attempt(1, "skip", cause="budget"))
    assert isinstance(over, GiveUp)
    assert over.status == "budget_exceeded"
    rich = chain(tier(0), CLOUD, budget=Budget(cost_usd=0.02))
    assert isinstance(decision(rich, attempt(0), prompt_tokens=10), Try)


def test_a_free_tier_runs_on_a_spent_budget() -> None:
    poor = chain(tier(0), budget=Budget(cost_usd=0.01))
    assert isinstance(decision(poor, spent_usd=1.0, warm_state="ready"), Try)


def test_worst_cost_counts_prompt_and_longest_answer() -> None:
    assert worst_cost_usd(TWO, CLOUD, 1000) == pytest.approx((1000 * 3 + 1000 * 15) / 1e6)
    assert worst_cost_usd(TWO, tier(0), 1000) == 0
    assert worst_cost_usd(TWO, tier(0, cloud_model()), 1000) is None


def test_g2_a_prompt_longer_than_the_window_skips_before_any_call() -> None:
    small = chain(tier(0, local_model(context_window=100)), CLOUD)
    got = decision(small, task_tokens=101)
    assert isinstance(got, Skip)
    assert got.cause == "context_overflow"
    assert "101" in got.reason
    assert isinstance(decision(small, task_tokens=100, prompt_tokens=500), Probe), "feedback is no reason"


def test_images_go_only_to_models_that_see() -> None:
    seeing = chain(tier(0), tier(1, cloud_model(vision=True)))
    assert isinstance(decision(seeing, has_images=True), Skip)
    assert isinstance(decision(seeing, attempt(0, "skip"), has_images=True), Try)


def test_best_effort_gives_the_highest_score() -> None:
    lenient = chain(tier(0), tier(1), on_exhausted="best")
    good, bad = attempt(0, score=0.6), attempt(1, score=0.2)
    assert decision(lenient, good, bad) == GiveUp("best_effort", good)


def test_best_effort_without_any_answer_is_exhaustion() -> None:
    lenient = chain(tier(0), on_exhausted="best")
    assert decision(lenient, attempt(0, "error")) == GiveUp("exhausted", None)


def test_the_best_of_equals_is_the_later_one_and_unscored_ones_come_last() -> None:
    first, second = attempt(0, score=0.5), attempt(1, score=0.5)
    unscored = attempt(2, cause="check_failed")
    assert best_attempt((first, second, unscored)) is second
    assert best_attempt((unscored,)) is unscored
    assert best_attempt(()) is None


@pytest.mark.parametrize("cause", sorted(UNANSWERED))
def test_what_a_detector_stopped_is_no_answer_to_fall_back_on(cause: Cause) -> None:
    refused, stopped = attempt(0, score=0.1), attempt(1, cause=cause)
    assert best_attempt((refused, stopped)) is refused
    assert decision(chain(tier(0), on_exhausted="best"), attempt(0, cause=cause)) == GiveUp("exhausted", None)


def test_an_answer_that_nobody_could_judge_on_the_last_tier_is_the_best() -> None:
    scored, unjudged = attempt(0, score=0.6), attempt(1, cause="verifier_error")
    assert best_attempt((scored, unjudged)) is unjudged
    assert best_attempt((unjudged, scored)) is scored
    beyond = attempt(2, "skip", cause="budget")
    assert best_attempt((scored, unjudged, beyond)) is unjudged, "a tier that was not asked says nothing"


def test_errors_name_their_kind_in_the_skip() -> None:
    same = local_model("phi4")
    failed = attempt(0, "error", model="phi4", error=ErrorInfo(kind="auth", message="no key"))
    got = decision(chain(tier(0, same), tier(1, same)), failed)
    assert isinstance(got, Skip)
    assert got.cause == "auth"


CANCELLED = attempt(0, "error", cause="cancelled", error=ErrorInfo(kind="cancelled", message="stopped"))


def test_h1_a_cancelled_attempt_says_nothing_of_its_tier() -> None:
    bounded = chain(tier(0), CLOUD, budget=Budget(attempts=1))
    for chain_ in (TWO, bounded):
        assert decision(chain_, CANCELLED, warm_state="ready") == Try(chain_.tiers[0], None)
    assert decision(TWO, attempt(0), CANCELLED.model_copy(update={"position": 1})) == Try(CLOUD, None)
    assert decision(TWO, attempt(0, "accept"), CANCELLED) == Accept(attempt(0, "accept"))
