from __future__ import annotations

import dataclasses

import pytest

from hyperguild.cli.page import Page
from hyperguild.cli.replay_page import Report, fill_page
from hyperguild.review.estimates import Estimate, mean, share
from hyperguild.review.figures import ChainFigures, Differences, Missing, TierFigures

WHOLE = ChainFigures(
    chain="code",
    tasks=4,
    known=4,
    tiers=(
        TierFigures("phi4", share([1.0] * 4), None),
        TierFigures("claude-sonnet-4-6", share([0.5] * 4), None),
    ),
    escalated=share([1.0, 0.0, 1.0, 0.0]),
    cost_usd=mean([0.01, 0.0, 0.02, 0.0]),
    duration_ms=mean([1200.0, 3400.0, 1000.0, 900.0]),
    quality=None,
    gap_closed=None,
    ends={"accepted": 4.0},
    missing=(),
    other_prompts=0,
)
PARTLY = dataclasses.replace(
    WHOLE, known=3, cost_usd=mean([0.0] * 3), missing=(Missing("answer", "claude-sonnet-4-6", 1),)
)


def page_of(*chains: ChainFigures, cost: Estimate | None = None, width: int = 100) -> str:
    difference = Differences(None, cost, None, None) if len(chains) > 1 else None
    report = Report(
        4, ("review",), "recorded", tuple(("code", one) for one in chains), ((),) * len(chains), difference
    )
    page = Page(width=width, wraps=True, styled=False)
    fill_page(page, report)
    return "\n".join(line.plain for line in page.lines)


def test_figures_of_known_tasks_are_not_told_as_those_of_all() -> None:
    told = " ".join(page_of(PARTLY).split())
    assert "code: cost and time of the 3 known tasks alone: the other 1 may well be harder" in told
    assert "known tasks alone" not in page_of(WHOLE)


def test_a_difference_says_of_how_many_tasks_it_is() -> None:
    told = " ".join(page_of(WHOLE, PARTLY, cost=mean([0.0] * 3)).split())
    assert "difference: cost of 3 of 4 tasks, those known of both" in told
    assert "difference: " not in page_of(WHOLE, WHOLE, cost=mean([0.0] * 4))


def test_one_task_has_no_interval() -> None:
    told = page_of(dataclasses.replace(WHOLE, cost_usd=mean([0.5])))
    assert "$0.5000 (one task)" in told


@pytest.mark.parametrize("width", [100, 120])
def test_two_chains_stand_side_by_side_where_there_is_room(width: int) -> None:
    told = page_of(WHOLE, PARTLY, cost=mean([0.01, 0.02, 0.03]), width=width)
    assert any(
        line.split() == ["asks", "tier", "1", "1.000", "phi4", "1.000", "phi4"] for line in told.splitlines()
    )
    assert max(map(len, told.splitlines())) <= width
