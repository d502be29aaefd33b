"""The pages of figures: statistics and calibration."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from hyperguild.domain.review import ReviewFilter
from hyperguild.errors import UsageError
from hyperguild.review.calibration import LEAST_TARGET, Wanted, calibrate_runs
from hyperguild.review.statistics import By, Group, count_runs
from hyperguild.service.review import charts
from hyperguild.service.review.desk import Desk, desk_of
from hyperguild.service.review.filters import Query, read_query
from hyperguild.service.review.listings import listing
from hyperguild.service.review.run_view import BAR_UNITS

KINDS: tuple[By, ...] = get_args(By)
PERIODS = {"7": "7 days", "30": "30 days", "365": "a year", "all": "all time"}
DEFAULT_PERIOD = "30"
"""A page that answers at once first; all of a large log takes its time."""

CHARTED = 31
"""Groups that a chart has room for; the table has them all."""


async def statistics_page(request: Request) -> Response:
    """Show how runs went, `?by=` skill, chain, model, tier or day; of the last `?days=`, where not dated."""
    desk = desk_of(request)
    query = read_query(request.query_params)
    by = next((kind for kind in KINDS if kind == request.query_params.get("by", "skill")), None)
    if by is None:
        raise UsageError(f"by: one of {', '.join(KINDS)}")
    wanted, period = _within(desk, query, request)
    found = await count_runs(desk.store.run_facts(wanted), by, desk.last_tiers)
    shown = found.groups[-CHARTED:] if by == "day" else found.groups[:CHARTED]
    return await listing(
        request,
        "statistics.html",
        query,
        by=by,
        kinds=KINDS,
        period=period,
        periods=PERIODS,
        found=found,
        charted=shown,
        most=_most(shown),
        parts_ms=parts_ms,
        units=BAR_UNITS,
    )


async def calibration_page(request: Request) -> Response:
    """Show how right judges are, by labels; `?target=` is the rate of false accepts wanted at most."""
    desk = desk_of(request)
    query = read_query(request.query_params)
    wanted, period = _within(desk, query, request, default="all")
    target = Wanted(false_accepts=_target(request.query_params.get("target", "")))
    found = await calibrate_runs(desk.store.run_facts(wanted), target, desk.now_of)
    return await listing(
        request,
        "calibration.html",
        query,
        period=period,
        periods=PERIODS,
        target=target,
        labelled=[(one, charts.calibration_plots(one)) for one in found if one.labelled],
        unlabelled=[one for one in found if not one.labelled],
        charts=charts,
    )


def _within(
    desk: Desk, query: Query, request: Request, default: str = DEFAULT_PERIOD
) -> tuple[ReviewFilter, str]:
    """Return the filter within the period that is asked for, and the period; empty where dates say it."""
    if query.wanted.since is not None or query.wanted.until is not None:
        return query.wanted, ""
    period = request.query_params.get("days", default)
    if period not in PERIODS:
        raise UsageError(f"days: one of {', '.join(PERIODS)}")
    if period == "all":
        return query.wanted, period
    since = desk.clock.now() - timedelta(days=int(period))
    return query.wanted.model_copy(update={"since": since}), period


def _target(text: str) -> float:
    try:
        target = float(text or 0.05)
    except ValueError:
        target = -1.0
    if not LEAST_TARGET <= target < 1:
        raise UsageError(f'target: "{text}" is no share between {LEAST_TARGET} and 1')
    return target


def _most(groups: tuple[Group, ...]) -> dict[str, float]:
    """Return the largest figures of a chart: its bars are as long as they are parts of these."""
    return {
        "runs": max((group.runs for group in groups), default=0),
        "cost_usd": max((group.cost_usd for group in groups), default=0.0),
        "ms": max((sum(ms for _, ms in parts_ms(group)) for group in groups), default=0.0),
    }


def parts_ms(group: Group) -> list[tuple[str, float]]:
    """Return the median times of the phases of an attempt, in milliseconds; those that are known."""
    latency = group.latency
    parts = (
        ("load", latency.load),
        ("first_token", latency.first_token),
        ("answer", latency.answer),
        ("verify", latency.judge),
    )
    return [(phase, spread.p50_ms) for phase, spread in parts if spread.p50_ms is not None]
