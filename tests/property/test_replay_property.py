from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from recalled import answered, chain, failed, run, summed, unchecked

from hyperguild.domain.review import AttemptFact, RecordedRun
from hyperguild.review.figures import differences, figures
from hyperguild.review.recollection import recollect
from hyperguild.review.replay import AtRandom, ByLabel, ByRecord, replay

MODELS = ("small", "middle", "large")


@st.composite
def attempts(draw: st.DrawFn, model: str) -> AttemptFact:
    if draw(st.integers(0, 9)) == 0:
        return failed(model)
    score = draw(st.sampled_from([None, 0.0, 0.25, 0.5, 0.7, 0.9, 1.0]))
    known = {} if score is None else {"judge": draw(st.sampled_from(["judge", "other"])), "score": score}
    return answered(
        model,
        draw(st.sampled_from([None, "good", "bad", "disputed"])),
        judge_accepts=draw(st.sampled_from([None, True, False])) if score is not None else None,
        verdict="escalate",
        cause="rejected",
        accept_at=0.7,
        duration_ms=draw(st.integers(0, 5000)),
        cost_usd=draw(st.none() | st.floats(0, 1)),
        **known,
    )


@st.composite
def records(draw: st.DrawFn) -> list[RecordedRun]:
    runs = []
    for _ in range(draw(st.integers(1, 8))):
        models = draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True))
        runs.append(run(draw(st.sampled_from("abcd")), *(draw(attempts(model)) for model in models)))
    return runs


@st.composite
def full_records(draw: st.DrawFn) -> list[RecordedRun]:
    """Every task has an answer of every model, judged and labelled."""
    runs = []
    for number in range(draw(st.integers(1, 8))):
        facts = [
            answered(
                model,
                draw(st.sampled_from(["good", "bad"])),
                judge="judge",
                score=draw(st.floats(0, 1)),
                judge_accepts=draw(st.booleans()),
                accept_at=0.7,
                verdict="escalate",
                cause="rejected",
            )
            for model in MODELS
        ]
        runs.append(run(f"task {number}", *facts))
    return runs


@given(full_records(), st.floats(0, 1), st.floats(0, 1))
def test_fewer_escalate_where_the_threshold_is_lower(runs: list[RecordedRun], one: float, two: float) -> None:
    low, high = sorted([one, two])
    mild = summed(runs, chain(*MODELS, judges=["judge"], accept_at=low))
    strict = summed(runs, chain(*MODELS, judges=["judge"], accept_at=high))
    for gentle, hard in zip(mild.tiers, strict.tiers, strict=True):
        assert gentle.reached is not None
        assert hard.reached is not None
        assert gentle.reached.value <= hard.reached.value


@given(full_records(), st.floats(0, 1))
def test_a_perfect_judge_is_never_worse_than_any_other_or_any_model_alone(
    runs: list[RecordedRun], accept_at: float
) -> None:
    over = chain(*MODELS, judges=["judge"], accept_at=accept_at)
    perfect = summed(runs, over, ByLabel()).quality
    recorded = summed(runs, over, ByRecord()).quality
    random = summed(runs, over, AtRandom(accept_at)).quality
    assert perfect is not None
    assert recorded is not None
    assert random is not None
    assert perfect.value >= max(recorded.value, random.value) - 1e-9
    for model in MODELS:
        alone = summed(runs, chain(model)).quality
        assert alone is not None
        assert perfect.value >= alone.value


@given(records(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(runs: list[RecordedRun], shuffled: object) -> None:
    over = chain(*MODELS, judges=["judge", "other"])
    other = list(runs)
    shuffled.shuffle(other)  # type: ignore[attr-defined]  # a random.Random that hypothesis steers
    assert summed(other, over) == summed(runs, over)


@given(records())
def test_a_chain_does_not_differ_from_itself(runs: list[RecordedRun]) -> None:
    over = chain(*MODELS, judges=["judge"])
    tasks = recollect(runs)
    paths = [replay(task, over, ByRecord(), unchecked) for task in tasks]
    assert figures(over, tasks, paths) == figures(replace(over), tasks, paths)
    between = differences((over, paths), (replace(over), paths))
    for one in (between.escalated, between.quality, between.cost_usd, between.duration_ms):
        assert one is None or (one.value, one.low, one.high) == (0, 0, 0)


@given(records(), st.sampled_from([ByRecord(), ByLabel(), AtRandom(0.25)]))
def test_what_is_unknown_is_in_no_figure(
    runs: list[RecordedRun], verifier: ByRecord | ByLabel | AtRandom
) -> None:
    over = chain(*MODELS, judges=["judge"])
    tasks = recollect(runs)
    paths = [replay(task, over, verifier, unchecked) for task in tasks]
    found = figures(over, tasks, paths)
    unknown = sum(any(path.gap for path in ways) for ways in paths)
    assert found.known == len(tasks) - unknown
    for one in (found.quality, found.cost_usd, found.duration_ms):
        assert one is None or one.n <= found.known
    for ways in paths:
        assert abs(sum(path.weight for path in ways) - 1) < 1e-9
        assert all((path.end is None) != (path.gap is None) for path in ways)
    ns = [tier.reached.n if tier.reached else 0 for tier in found.tiers]
    assert ns == sorted(ns, reverse=True)
    assert ns[0] == len(tasks)
