"""Whatever the log holds: shares are shares, and groups add up to the whole."""

from __future__ import annotations

from collections import Counter

import pytest
from builders import cloud_model
from facts import runs
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.review import RunFact
from hyperguild.domain.usage import Price, Usage
from hyperguild.review.statistics import By, Counting

LAST = {"code": cloud_model("claude", price=Price(input=3.0, output=15.0))}


@given(st.lists(runs, max_size=12), st.sampled_from(["skill", "chain", "model", "tier", "day"]))
def test_groups_add_up_and_rates_are_shares(logged: list[RunFact], by: By) -> None:
    counting = Counting(by, LAST)
    for run in logged:
        counting.add(run)
    found = counting.result()
    whole = found.whole
    assert whole.runs == len(logged)
    if by not in {"model", "tier"}:
        assert sum(group.runs for group in found.groups) == whole.runs
        assert sum((Counter(group.statuses) for group in found.groups), Counter()) == whole.statuses
    for name in ("attempts", "skipped", "accepted", "escalated", "failed", "cost_unknown"):
        assert sum(getattr(group, name) for group in found.groups) == getattr(whole, name)
    for name in ("errors", "causes"):
        assert sum((Counter(getattr(group, name)) for group in found.groups), Counter()) == getattr(
            whole, name
        )
    for name in ("usage", "judge_usage"):
        assert sum((getattr(group, name) for group in found.groups), Usage()) == getattr(whole, name)
    for name in ("cost_usd", "judge_cost_usd"):
        assert sum(getattr(group, name) for group in found.groups) == pytest.approx(getattr(whole, name))
    for name in ("recorded", "listed", "unknown"):
        assert sum(getattr(group.saved, name) for group in found.groups) == getattr(whole.saved, name)
    assert sum(group.saved.usd or 0 for group in found.groups) == pytest.approx(
        whole.saved.usd or 0, abs=1e-9
    )
    for group in (*found.groups, whole):
        for share in (group.acceptance_rate, group.escalation_rate, group.warm_share):
            assert share is None or 0 <= share <= 1
        for spread in (group.latency.whole, group.latency.answer, group.latency.judge):
            assert (spread.p50_ms is None) == (spread.count == 0)
            assert spread.p50_ms is None or 0 <= spread.p50_ms <= (spread.p95_ms or 0)
