"""Whatever was judged and labelled: thresholds order what they accept, and keep what was wanted."""

from __future__ import annotations

import itertools

from facts import judged, run_fact, runs, scores
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.review.calibration import Calibrating, Calibration, Point, Wanted
from hyperguild.review.intervals import Rate, upper_bound

LABELS = st.sampled_from(["good", "bad", "disputed", None])
JUDGED = st.builds(judged, scores, LABELS, judge_accepts=st.none() | st.booleans())
WANTED = st.builds(Wanted, false_accepts=st.floats(0.01, 0.9), confidence=st.floats(0.5, 0.99))


def calibrations(logged: list[RunFact], wanted: Wanted) -> tuple[Calibration, ...]:
    calibrating = Calibrating()
    for run in logged:
        calibrating.add(run)
    return calibrating.result(wanted)


def rates(point: Point) -> tuple[Rate, Rate, Rate]:
    return point.false_accepts, point.true_accepts, point.accepted


@given(st.lists(runs, max_size=12), WANTED)
def test_every_rate_is_one_and_counts_add_up(logged: list[RunFact], wanted: Wanted) -> None:
    found = calibrations(logged, wanted)
    scored = [a for run in logged for a in run.attempts if a.judge is not None and a.score is not None]
    assert sum(one.labelled + one.disputed + one.unlabelled for one in found) == len(scored)
    for one in found:
        assert one.labelled == one.good + one.bad == sum(bin_.good.of for bin_ in one.reliability)
        points = [*one.curve, *filter(None, (one.now, one.proposal))]
        every = [one.accuracy, one.true_accepts, one.false_accepts, *(bin_.good for bin_ in one.reliability)]
        for rate in [*every, *(rate for point in points for rate in rates(point))]:
            assert 0 <= rate.low <= (rate.share or 0.0) <= rate.high <= 1
        for bin_ in one.reliability:
            assert bin_.low - 1e-9 <= bin_.mean_score <= bin_.high + 1e-9


@given(st.lists(JUDGED, min_size=1, max_size=60), WANTED)
def test_less_is_accepted_the_higher_the_threshold(answers: list[AttemptFact], wanted: Wanted) -> None:
    (found,) = calibrations([run_fact(*answers)], wanted)
    for lower, higher in itertools.pairwise(found.curve):
        assert lower.accept_at < higher.accept_at
        for more, less in zip(rates(lower), rates(higher), strict=True):
            assert less.count <= more.count
    known = [one for one in answers if one.judge_accepts is not None]
    for point in found.curve:
        passing = [one for one in known if one.judge_accepts and (one.score or 0.0) >= point.accept_at]
        assert (point.accepted.count, point.accepted.of) == (len(passing), len(known))
        assert point.true_accepts.count == sum(one.label == "good" for one in passing)


@given(st.lists(JUDGED, min_size=1, max_size=80), WANTED)
def test_what_is_proposed_keeps_what_is_wanted(answers: list[AttemptFact], wanted: Wanted) -> None:
    (found,) = calibrations([run_fact(*answers)], wanted)
    assert (found.finding == "threshold") == (found.proposal is not None)
    assert (found.finding == "too_few_labels") == (found.more_bad is not None)
    if found.proposal is None or found.upper_bound is None:
        return
    rate = found.proposal.false_accepts
    assert upper_bound(rate.count, rate.of, wanted.confidence) <= found.upper_bound <= wanted.false_accepts
    assert found.proposal.true_accepts.count > 0


@given(st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=60), WANTED)
def test_a_judge_that_is_always_right_accepts_nothing_bad(
    answers: list[tuple[float, bool]], wanted: Wanted
) -> None:
    perfect = [
        judged(score, "good" if good else "bad", judge_accepts=good, accept_at=0.0) for score, good in answers
    ]
    (found,) = calibrations([run_fact(*perfect)], wanted)
    assert found.accuracy.share == 1
    assert all(point.false_accepts.count == 0 for point in found.curve)
    if found.proposal is not None:
        assert found.proposal.accept_at == 0.0
        assert found.proposal.true_accepts.share == 1
