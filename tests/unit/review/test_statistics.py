from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from builders import cloud_model, local_model
from facts import attempt_fact, run_fact

from hyperguild.cli.page import Page
from hyperguild.cli.stats_page import fill_page
from hyperguild.domain.records import SpeculationUse
from hyperguild.domain.review import RunFact
from hyperguild.domain.usage import Price, Usage
from hyperguild.review.statistics import By, Counting, Group, Statistics, count_runs, percentile

CLAUDE = cloud_model("claude", price=Price(input=3.0, output=15.0))
LAST = {"code": CLAUDE}


def counted(*runs: RunFact, by: By = "skill") -> Statistics:
    counting = Counting(by, LAST)
    for run in runs:
        counting.add(run)
    return counting.result()


def groups(statistics: Statistics) -> dict[str, Group]:
    return {group.group: group for group in statistics.groups}


REFUSED = attempt_fact(verdict="escalate", cause="rejected")
CLOUD = attempt_fact(model="claude", tier="subagent", cost_usd=0.02, usage=Usage(input_tokens=1000))


def test_rates_of_runs() -> None:
    failed = attempt_fact(verdict="error", cause="timeout")
    skipped = attempt_fact(verdict="skip", cause="cold")
    one = counted(
        run_fact(attempt_fact()),
        run_fact(REFUSED, CLOUD),
        run_fact(failed, skipped, CLOUD),
        run_fact(REFUSED, failed),
        run_fact(REFUSED, status="cancelled"),
        run_fact(REFUSED, status="running"),
        run_fact(attempt_fact(), parent_run_id="run-1"),
    ).groups[0]
    assert (one.runs, one.delegated) == (7, 1)
    assert one.statuses == {"accepted": 4, "exhausted": 1, "cancelled": 1, "running": 1}
    assert one.acceptance_rate == pytest.approx(4 / 5)
    assert one.escalation_rate == pytest.approx(2 / 5)
    assert (one.attempts, one.skipped, one.accepted, one.escalated, one.failed) == (10, 1, 4, 4, 2)
    assert (one.errors, one.causes) == ({"timeout": 2}, {"rejected": 4})


def test_by_model_rates_are_of_its_attempts() -> None:
    cancelled = attempt_fact(verdict="error", cause="cancelled")
    by_model = groups(
        counted(
            run_fact(REFUSED, attempt_fact(position=1), CLOUD),
            run_fact(cancelled, status="cancelled"),
            run_fact(attempt_fact(verdict="error", cause="server"), CLOUD),
            by="model",
        )
    )
    phi, claude = by_model["phi4"], by_model["claude"]
    assert (phi.runs, phi.attempts, phi.acceptance_rate, phi.escalation_rate) == (3, 4, 1 / 3, 1 / 3)
    assert (claude.runs, claude.attempts, claude.acceptance_rate, claude.escalation_rate) == (2, 2, 1, 0)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("skill", ["a", "b"]),
        ("chain", ["x", "y"]),
        ("model", ["phi4", "claude"]),
        ("tier", ["local", "subagent"]),
    ],
)
def test_groups_come_largest_first(by: By, names: list[str]) -> None:
    runs = [run_fact(attempt_fact(), skill="a", chain="x")] * 2 + [run_fact(CLOUD, skill="b", chain="y")]
    assert [group.group for group in counted(*runs, by=by).groups] == names


def test_days_are_those_of_utc_and_come_in_order() -> None:
    late = datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    moments = [datetime(2026, 3, 2, 0, 0, tzinfo=UTC), late, datetime(2026, 3, 1, 23, 59, tzinfo=UTC)]
    found = counted(*(run_fact(CLOUD, created_at=moment) for moment in moments), by="day")
    assert [group.group for group in found.groups] == ["2026-02-28", "2026-03-01", "2026-03-02"]


def test_latencies_are_taken_apart() -> None:
    slow = attempt_fact(
        duration_ms=5230, load_ms=3900, first_token_ms=200, verify_ms=310, judge="q", warm_state="cold"
    )
    quick = attempt_fact(duration_ms=1000, first_token_ms=100, verify_ms=5, warm_state="ready")
    failed = attempt_fact(verdict="error", cause="timeout", duration_ms=9000, warm_state="unknown")
    one = counted(run_fact(slow, duration_ms=5300), run_fact(failed, quick, duration_ms=10_100)).groups[0]
    latency = one.latency
    assert (latency.whole.count, latency.whole.p50_ms) == pytest.approx((2, 7700))
    assert (latency.load.count, latency.load.p50_ms) == (1, 3900)
    assert (latency.first_token.count, latency.first_token.p50_ms) == pytest.approx((2, 150))
    assert (latency.answer.count, latency.answer.p95_ms) == pytest.approx((2, 820 + 75 * 0.95))
    assert (latency.judge.count, latency.judge.p95_ms) == (1, 310)
    assert one.warm_share == 0.5
    by_model = counted(run_fact(slow), run_fact(failed, quick), by="model").groups[0]
    assert (by_model.latency.whole.count, by_model.latency.whole.p50_ms) == (3, 5230)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_percentiles_are_numpys(share: float, count: int) -> None:
    numbers = np.random.default_rng(count).integers(0, 100_000, count)
    expected = np.percentile(numbers, share * 100)
    assert percentile(sorted(numbers.tolist()), share) == pytest.approx(float(expected))


def test_of_nothing_nothing_is_known() -> None:
    assert percentile([], 0.5) is None
    whole = counted().whole
    assert (whole.runs, whole.acceptance_rate, whole.warm_share, whole.saved.usd) == (0, None, None, None)
    assert whole.latency.answer.p95_ms is None


def test_tokens_and_cost_hold_judges_and_hooks() -> None:
    one = attempt_fact(
        usage=Usage(input_tokens=100, output_tokens=10, cached_input_tokens=50),
        cost_usd=0.5,
        judge_usage=Usage(input_tokens=30, output_tokens=3),
        judge_cost_usd=0.25,
        hooks_usage=Usage(input_tokens=7, cache_write_tokens=2),
        hooks_cost_usd=0.125,
    )
    unpriced = attempt_fact(cost_usd=None, judge_cost_usd=0.0625)
    group = counted(run_fact(one, unpriced)).groups[0]
    assert group.usage == Usage(
        input_tokens=137, output_tokens=13, cached_input_tokens=50, cache_write_tokens=2
    )
    assert group.judge_usage == Usage(input_tokens=30, output_tokens=3)
    assert (group.cost_usd, group.judge_cost_usd, group.cost_unknown) == (0.9375, 0.3125, 1)


def test_saved_is_against_what_the_last_tier_cost_on_record() -> None:
    cheap = [run_fact(attempt_fact(cost_usd=0.001)) for _ in range(8)]
    dear = [
        run_fact(attempt_fact(cost_usd=0.001), CLOUD),
        run_fact(attempt_fact(model="claude", cost_usd=0.04)),
    ]
    saved = counted(*cheap, *dear).groups[0].saved
    assert saved.usd == pytest.approx(10 * 0.03 - (8 * 0.001 + 0.021 + 0.04))
    assert (saved.recorded, saved.listed, saved.unknown) == (10, 0, 0)


def test_saved_is_against_the_listed_price_where_the_last_tier_never_answered() -> None:
    answer = attempt_fact(usage=Usage(input_tokens=2000, output_tokens=100), judge_cost_usd=0.001)
    failed = attempt_fact(model="claude", verdict="error", cause="auth", cost_usd=None)
    saved = counted(
        run_fact(answer), run_fact(answer), run_fact(REFUSED), run_fact(failed, answer)
    ).whole.saved
    assert saved.usd == pytest.approx(2 * (2000 * 3e-6 + 100 * 15e-6 - 0.001))
    assert (saved.recorded, saved.listed, saved.unknown) == (0, 2, 2)


def test_what_is_not_known_is_not_guessed() -> None:
    other = run_fact(attempt_fact(), chain="unheard-of")
    stopped = run_fact(attempt_fact(), status="cancelled")
    skipped = run_fact(attempt_fact(verdict="skip"))
    saved = counted(other, stopped, skipped).whole.saved
    assert (saved.usd, saved.recorded, saved.listed, saved.unknown) == (None, 0, 0, 1)


def test_skills_and_chains_are_not_mixed_up() -> None:
    """What the last tier costs for one skill says nothing about another."""
    long = [run_fact(attempt_fact(model="claude", cost_usd=1.0), skill="long")]
    short = [run_fact(attempt_fact(usage=Usage(input_tokens=1000)), skill="short")]
    by_skill = groups(counted(*long, *short))
    assert by_skill["long"].saved.usd == pytest.approx(0)
    assert by_skill["short"].saved.usd == pytest.approx(0.003)


def test_a_chain_of_one_tier_saves_nothing() -> None:
    runs = [run_fact(attempt_fact(model="claude", cost_usd=cost)) for cost in (0.1, 0.7, 0.25)]
    assert counted(*runs).whole.saved.usd == pytest.approx(0)


def test_by_model_a_saving_belongs_to_who_answered() -> None:
    runs = [run_fact(REFUSED, CLOUD), run_fact(attempt_fact()), run_fact(REFUSED)]
    by_model = groups(counted(*runs, by="model"))
    assert by_model["phi4"].saved.usd == pytest.approx(0.04)
    assert by_model["claude"].saved.usd == pytest.approx(0)


def test_a_local_last_tier_without_a_price_costs_nothing() -> None:
    counting = Counting("skill", {"code": local_model("big")})
    counting.add(run_fact(attempt_fact(judge_cost_usd=0.5)))
    assert counting.result().whole.saved.usd == pytest.approx(-0.5)


async def test_batches_are_counted_as_they_come() -> None:
    async def batches() -> AsyncGenerator[Sequence[RunFact], None]:
        yield [run_fact(CLOUD), run_fact(REFUSED)]
        yield []
        yield [run_fact(CLOUD, skill="debug")]

    found = await count_runs(batches(), "skill", LAST)
    assert [(group.group, group.runs) for group in found.groups] == [("review", 2), ("debug", 1)]
    assert found.whole.runs == 3


def test_i6_speculation_is_summed_up() -> None:
    hit = SpeculationUse(hits=1, saved_ms=1200)
    miss = SpeculationUse(misses=2, wasted_tokens=300, wasted_usd=0.02)
    runs = [run_fact(CLOUD, speculation=hit), run_fact(CLOUD), run_fact(REFUSED, CLOUD, speculation=miss)]
    both = SpeculationUse(hits=1, misses=2, wasted_tokens=300, wasted_usd=0.02, saved_ms=1200)
    assert [group.speculation for group in counted(*runs).groups] == [both]
    by_model = counted(*runs, by="model")
    assert (by_model.whole.speculation, by_model.groups[0].speculation) == (both, None)
    assert counted(run_fact(CLOUD)).whole.speculation is None
    unknown = run_fact(CLOUD, speculation=SpeculationUse(misses=1, wasted_usd=None))
    assert counted(*runs, unknown).whole.speculation == both + SpeculationUse(misses=1, wasted_usd=None)

    page = Page(width=120, wraps=False, styled=False)
    fill_page(page, by_model, None)
    text = "\n".join(line.plain for line in page.lines)
    assert "needed 1 time, 1.2 s saved; not needed 2 times; 300 tokens and $0.02" in text
