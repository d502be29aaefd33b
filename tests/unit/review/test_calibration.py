from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest
from facts import attempt_fact, judged, run_fact

from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.review.calibration import Calibrating, Calibration, Wanted, calibrate_runs
from hyperguild.review.intervals import upper_bound

WANTED = Wanted()


def calibrated(*attempts: AttemptFact, wanted: Wanted = WANTED, now: float | None = None) -> Calibration:
    calibrating = Calibrating()
    for attempt in attempts:
        calibrating.add(run_fact(attempt))
    (found,) = calibrating.result(wanted, None if now is None else lambda *_: now)
    return found


def drawn(seed: int, count: int) -> list[AttemptFact]:
    """Return answers of a judge that is mostly right, and whose word is not always its score's."""
    random = np.random.default_rng(seed)
    good = random.random(count) < 0.6
    scores = np.round(np.clip(random.normal(np.where(good, 0.8, 0.45), 0.2), 0, 1), 2)
    words = random.random(count) < np.where(scores > 0.4, 0.95, 0.3)
    return [
        judged(float(score), "good" if truth else "bad", judge_accepts=bool(word))
        for score, truth, word in zip(scores, good, words, strict=True)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rates_and_scores_are_numpys(seed: int) -> None:
    answers = drawn(seed, 300)
    found = calibrated(*answers)
    score = np.array([one.score for one in answers], dtype=float)
    good = np.array([one.label == "good" for one in answers])
    word = np.array([one.judge_accepts for one in answers])
    accepted = word & (score >= 0.7)
    assert (found.labelled, found.good, found.bad) == (300, good.sum(), (~good).sum())
    assert found.accuracy.share == pytest.approx((accepted == good).mean())
    assert found.true_accepts.share == pytest.approx(accepted[good].mean())
    assert found.false_accepts.share == pytest.approx(accepted[~good].mean())
    assert found.brier == pytest.approx(((score - good) ** 2).mean())
    place = np.digitize(score, np.arange(1, 10) / 10)
    expected = [
        (
            int(number),
            score[place == number].mean(),
            good[place == number].mean(),
            int((place == number).sum()),
        )
        for number in np.unique(place)
    ]
    assert [round(one.low * 10) for one in found.reliability] == [number for number, _, _, _ in expected]
    for one, (_, mean, share, count) in zip(found.reliability, expected, strict=True):
        assert (one.mean_score, one.good.share, one.good.of) == pytest.approx((mean, share, count))
    gaps = sum(count * abs(mean - share) for _, mean, share, count in expected) / 300
    assert found.calibration_error == pytest.approx(gaps)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("target", [0.02, 0.05, 0.1, 0.3, 0.9])
def test_the_threshold_is_the_lowest_that_keeps_the_target(seed: int, target: float) -> None:
    answers = drawn(seed, 400)
    found = calibrated(*answers, wanted=Wanted(false_accepts=target), now=0.0)
    score = np.array([one.score for one in answers], dtype=float)
    good = np.array([one.label == "good" for one in answers])
    word = np.array([one.judge_accepts for one in answers])
    keeping = [
        step / 100
        for step in range(101)
        if upper_bound(int((word & (score >= step / 100))[~good].sum()), int((~good).sum()), 0.95) <= target
    ]
    if found.proposal is None:
        strictest = (word & (score >= 1.0))[~good]
        assert not keeping
        assert found.finding == ("too_generous" if strictest.mean() >= target else "too_few_labels")
        return
    assert found.proposal.accept_at == keeping[0]
    at = word & (score >= keeping[0])
    assert found.upper_bound == upper_bound(int(at[~good].sum()), int((~good).sum()), 0.95) <= target
    assert found.proposal.true_accepts.share == pytest.approx(at[good].mean())
    assert found.proposal.false_accepts.share == pytest.approx(at[~good].mean())
    assert found.proposal.accepted.share == pytest.approx(at.mean())


def test_a_perfect_judge_needs_no_more_than_its_word() -> None:
    answers = [judged(0.9, "good") for _ in range(30)]
    answers += [judged(0.95, "bad", judge_accepts=False) for _ in range(60)]
    found = calibrated(*answers)
    assert (found.accuracy.share, found.true_accepts.share, found.false_accepts.share) == (1, 1, 0)
    assert (found.finding, found.more_bad) == ("threshold", None)
    assert found.proposal is not None
    assert found.proposal.accept_at == 0.7  # what applies accepts the same answers: it stays
    assert {point.false_accepts.count for point in found.curve} == {0}


def test_of_thresholds_that_accept_the_same_the_nearest_is_taken() -> None:
    answers = [judged(0.8, "good") for _ in range(30)] + [judged(0.6, "bad") for _ in range(60)]
    places = {now: calibrated(*answers, now=now).proposal for now in (0.2, 0.61, 0.725, 0.8, 0.95)}
    assert {now: point and point.accept_at for now, point in places.items()} == {
        0.2: 0.61,
        0.61: 0.61,
        0.725: 0.725,
        0.8: 0.8,
        0.95: 0.8,
    }


def test_what_acceptance_a_threshold_costs() -> None:
    """Of all that was judged, not of what was labelled alone."""
    labelled = [judged(0.9, "good")] * 30 + [judged(0.75, "bad")] * 20 + [judged(0.5, "bad")] * 60
    others = [judged(0.8)] * 70 + [judged(0.95)] * 10 + [judged(0.95, judge_accepts=False)] * 10
    found = calibrated(*labelled, *others)
    assert (found.labelled, found.unlabelled) == (110, 90)
    assert found.now is not None
    assert found.proposal is not None
    assert found.proposal.accept_at == 0.76
    assert (found.now.accepted.count, found.now.accepted.of) == (130, 200)
    assert (found.proposal.accepted.count, found.proposal.accepted.of) == (110, 200)
    assert (found.now.false_accepts.count, found.proposal.false_accepts.count) == (20, 0)


def test_too_few_labels_and_how_many_more() -> None:
    found = calibrated(*[judged(0.9, "good")] * 10, *[judged(0.3, "bad")] * 12)
    assert (found.finding, found.proposal, found.upper_bound, found.more_bad) == (
        "too_few_labels",
        None,
        None,
        40,
    )
    enough = calibrated(*[judged(0.9, "good")] * 10, *[judged(0.3, "bad")] * 52)
    assert enough.finding == "threshold"
    none = calibrated(judged(0.9), judged(0.8))
    assert (none.finding, none.more_bad, none.accuracy.share, none.brier) == (
        "too_few_labels",
        52,
        None,
        None,
    )


def test_a_judge_that_gives_bad_answers_full_scores() -> None:
    found = calibrated(*[judged(1.0, "good")] * 50, *[judged(1.0, "bad")] * 10, *[judged(0.1, "bad")] * 60)
    assert (found.finding, found.proposal, found.more_bad) == ("too_generous", None, None)


def test_a_threshold_that_accepts_nothing_good_is_none() -> None:
    found = calibrated(*[judged(0.5, "good")] * 50, *[judged(0.9, "bad")] * 60)
    assert (found.finding, found.proposal) == ("accepts_nothing", None)
    assert calibrated(*[judged(0.5, "bad")] * 60).finding == "no_good_labels"


def test_what_does_not_count() -> None:
    found = calibrated(
        judged(0.9, "good"),
        judged(0.8, "disputed"),
        judged(0.8, judge_accepts=None),
        judged(0.8, "bad", judge_accepts=None),
        attempt_fact(label="bad", score=None, judge="qwen3-8b"),
        attempt_fact(label="bad", verdict="escalate", cause="check_failed"),
    )
    assert (found.labelled, found.disputed, found.unlabelled, found.without_word) == (2, 1, 1, 1)
    assert (found.accuracy.count, found.false_accepts.count) == (1, 1)
    assert found.now is not None
    assert (found.now.false_accepts.of, found.now.true_accepts.of, found.now.accepted.of) == (0, 1, 2)


def test_each_judge_and_skill_by_itself() -> None:
    calibrating = Calibrating()
    calibrating.add(run_fact(judged(0.9, "good"), judged(0.5, "bad", judge="other"), skill="a", chain="x"))
    calibrating.add(run_fact(judged(0.9, "bad"), judged(0.9, accept_at=0.8), skill="b", chain="y"))
    calibrating.add(run_fact(judged(0.9, "good"), skill="a", chain="z"))
    found = calibrating.result(WANTED)
    assert [(one.judge, one.skill, one.labelled, one.chains) for one in found] == [
        ("qwen3-8b", "a", 2, ("x", "z")),
        ("other", "a", 1, ("x",)),
        ("qwen3-8b", "b", 1, ("y",)),
    ]
    assert [one.now and one.now.accept_at for one in found] == [0.7, 0.7, 0.8]


async def test_batches_are_read_as_they_come() -> None:
    async def batches() -> AsyncGenerator[Sequence[RunFact], None]:
        yield [run_fact(judged(0.9, "good")), run_fact(judged(0.9))]
        yield [run_fact(judged(0.2, "bad"))]

    (found,) = await calibrate_runs(batches(), WANTED, lambda *_: 0.5)
    assert (found.good, found.bad, found.unlabelled) == (1, 1, 1)
    assert found.now is not None
    assert found.now.accept_at == 0.5
