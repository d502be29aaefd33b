from __future__ import annotations

from dataclasses import replace

import builders
import pytest
from facts import judged
from recalled import answered, chain, failed, run, summed, walked

from hyperguild.domain.chain import Budget, LengthCheck
from hyperguild.domain.usage import Price, Usage
from hyperguild.review.replay import AtRandom, ByLabel, Gap

SMALL_THEN_LARGE = chain("small", "large", judges=["judge"])


def test_a_threshold_below_the_recorded_score_accepts_what_was_refused() -> None:
    runs = [run("t", judged(0.6, model="small", judge="judge"), answered("large"))]
    (strict,) = walked(runs, SMALL_THEN_LARGE)
    (mild,) = walked(runs, chain("small", "large", judges=["judge"], accept_at=0.5))
    assert [one.attempt.model for one in strict.tries] == ["small", "large"]
    assert [one.attempt.model for one in mild.tries] == ["small"]
    assert (strict.end, mild.end) == ("accepted", "accepted")


def test_what_the_judge_refused_by_its_word_no_threshold_accepts() -> None:
    runs = [run("t", judged(0.9, model="small", judge="judge", judge_accepts=False), answered("large"))]
    (path,) = walked(runs, chain("small", "large", judges=["judge"], accept_at=0.0))
    assert path.final is not None
    assert path.final.fact.model == "large"


def test_a_score_without_the_judges_word_is_unknown_above_the_threshold_only() -> None:
    runs = [run("t", judged(0.6, model="small", judge="judge", judge_accepts=None), answered("large"))]
    (refused,) = walked(runs, SMALL_THEN_LARGE)
    (unknown,) = walked(runs, chain("small", "large", judges=["judge"], accept_at=0.5))
    assert refused.end == "accepted"
    assert unknown.gap is not None
    assert unknown.gap.kind == "judgement"


def test_another_order_of_judges_takes_the_first_judgement_on_record() -> None:
    runs = [
        run("t", judged(0.9, model="small", judge="judge"), answered("large")),
        run("t", judged(0.2, model="small", judge="other")),
    ]
    assert len(walked(runs, chain("small", "large", judges=["judge", "other"]))[0].tries) == 1
    assert len(walked(runs, chain("small", "large", judges=["other", "judge"]))[0].tries) == 2
    assert len(walked(runs, chain("small", "large", judges=["stranger", "judge"]))[0].tries) == 1
    gap = walked(runs, chain("small", "large", judges=["stranger"]))[0].gap
    assert gap is not None
    assert (gap.kind, gap.position) == ("judgement", 0)


def test_an_error_on_record_falls_back() -> None:
    (path,) = walked([run("t", failed("small"), answered("large"))], SMALL_THEN_LARGE)
    assert [one.attempt.verdict for one in path.tries] == ["error", "accept"]


def test_an_answer_on_record_comes_before_an_error() -> None:
    runs = [run("t", judged(0.9, model="small", judge="judge")), run("t", failed("small"), answered("large"))]
    (path,) = walked(runs, SMALL_THEN_LARGE)
    assert [one.attempt.model for one in path.tries] == ["small"]


def test_a_missing_answer_ends_the_path_and_is_counted() -> None:
    runs = [
        run("one", judged(0.2, model="small", judge="judge")),
        run("two", judged(0.9, model="small", judge="judge")),
        run("three", judged(0.2, model="small", judge="judge"), answered("large")),
    ]
    assert walked(runs[:1], SMALL_THEN_LARGE)[0].gap == Gap("answer", 1, "large")
    found = summed(runs, SMALL_THEN_LARGE)
    assert (found.tasks, found.known) == (3, 2)
    assert [(one.kind, one.model, one.tasks) for one in found.missing] == [("answer", "large", 1)]
    # That the task gets there is known, what it finds there is not.
    assert found.escalated is not None
    assert found.escalated.value == pytest.approx(2 / 3)
    assert found.escalated.n == 3


def test_a_task_whose_first_tier_is_unknown_is_in_no_share() -> None:
    runs = [run("one", answered("large")), run("two", judged(0.9, model="small", judge="judge"))]
    found = summed(runs, SMALL_THEN_LARGE)
    assert found.escalated is not None
    assert (found.escalated.value, found.escalated.n) == (0.0, 1)


def test_recorded_checks_are_asked_again() -> None:
    over = chain("small", "large", checks=[LengthCheck(max_chars=1)])
    runs = [run("t", answered("small"), answered("large"))]
    (open_path,) = walked(runs, over)
    assert open_path.gap is not None
    assert open_path.gap.kind == "checks"
    (path,) = walked(runs, over, checked=lambda _: "failed")
    assert [one.attempt.cause for one in path.tries] == ["check_failed", None]
    (path,) = walked(runs, over, checked=lambda _: "fault")
    assert path.tries[0].attempt.cause == "verifier_error"
    assert len(walked(runs, over, checked=lambda _: "passed")[0].tries) == 1


def test_what_was_cut_off_is_refused_whoever_verifies() -> None:
    runs = [run("t", answered("small", "good", finish_reason="length"), answered("large"))]
    (path,) = walked(runs, chain("small", "large", judges=["judge"]), ByLabel())
    assert path.tries[0].attempt.cause == "truncated"


def test_the_judges_cost_and_time_count_where_it_is_asked_and_not_elsewhere() -> None:
    fact = judged(
        0.9, model="small", judge="judge", duration_ms=1500, verify_ms=500, cost_usd=0.25, judge_cost_usd=0.5
    )
    with_judge = summed([run("t", fact)], SMALL_THEN_LARGE)
    without = summed([run("t", fact)], chain("small"))
    assert with_judge.cost_usd is not None
    assert without.cost_usd is not None
    assert (with_judge.cost_usd.value, without.cost_usd.value) == (0.75, 0.25)
    assert with_judge.duration_ms is not None
    assert without.duration_ms is not None
    assert (with_judge.duration_ms.value, without.duration_ms.value) == (1500, 1000)


def test_no_price_is_guessed() -> None:
    fact = answered("small", cost_usd=None, usage=Usage(input_tokens=1_000_000))
    unpriced = chain("small")
    priced_model = builders.local_model("small", price=Price(input=2.0, output=4.0))
    priced = builders.chain(builders.tier(0, priced_model, verify=False))
    assert summed([run("t", fact)], unpriced).cost_usd is None
    found = summed([run("t", fact)], priced).cost_usd
    assert found is not None
    assert found.value == 2.0
    assert summed([run("t", replace(fact, usage=Usage()))], priced).cost_usd is None


def test_an_answer_to_another_prompt_is_counted_and_one_to_the_same_preferred() -> None:
    refused = judged(0.2, model="small", judge="judge")
    both = [run("t", refused, answered("large"))]
    assert summed(both, SMALL_THEN_LARGE).other_prompts == 0
    alone = [run("t", refused), run("t", answered("large"))]
    assert summed(alone, SMALL_THEN_LARGE).other_prompts == 1
    (path,) = walked([*both, *[run("t", answered("large"))]], SMALL_THEN_LARGE)
    assert path.final is not None
    assert path.final.after_refusal


def test_a_second_try_takes_a_second_answer() -> None:
    twice = chain("small", "large", judges=["judge"])
    twice = replace(twice, tiers=(replace(twice.tiers[0], attempts=2), twice.tiers[1]))
    first, second = judged(0.1, model="small", judge="judge"), judged(0.9, model="small", judge="judge")
    assert walked([run("t", first)], twice)[0].gap == Gap("answer", 0, "small")
    (path,) = walked([run("t", first, second)], twice)
    assert path.end == "accepted"


def test_a_budget_ends_a_replayed_walk_too() -> None:
    over = replace(SMALL_THEN_LARGE, budget=Budget(attempts=1))
    (path,) = walked([run("t", judged(0.2, model="small", judge="judge"), answered("large"))], over)
    assert (path.end, path.final) == ("budget_exceeded", None)


def test_at_random_each_task_goes_both_ways() -> None:
    runs = [run("t", answered("small", "bad"), answered("large", "good"))]
    found = summed(runs, SMALL_THEN_LARGE, AtRandom(0.3))
    assert found.quality is not None
    assert found.escalated is not None
    assert found.quality.value == pytest.approx(0.3)
    assert found.escalated.value == pytest.approx(0.3)
    assert found.gap_closed == pytest.approx(0.3)


def test_a_perfect_verifier_needs_labels() -> None:
    (path,) = walked([run("t", answered("small"), answered("large"))], SMALL_THEN_LARGE, ByLabel())
    assert path.gap is not None
    assert path.gap.kind == "label"


def test_runs_whose_task_was_not_kept_are_tasks_of_their_own() -> None:
    runs = [run(None, answered("small")), run(None, answered("small"))]
    assert summed(runs, chain("small")).tasks == 2


def test_labels_that_contradict_each_other_are_no_label() -> None:
    runs = [run("t", answered("small", "good")), run("t", answered("small", "bad"))]
    assert summed([runs[0]], chain("small")).quality is not None
    disputed = [run("t", answered("small", "disputed"))]
    assert summed(disputed, chain("small")).quality is None
