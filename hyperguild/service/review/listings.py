"""The pages that list: runs, sessions, and where a text was found."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hyperguild.domain.review import EVERYTHING
from hyperguild.ports import ReviewStore
from hyperguild.service.review.desk import desk_of
from hyperguild.service.review.filters import LABELS, STATUSES, TIERS, VERDICTS, Query, read_query

PAGE_ROWS = 50
NAMES_FROM = 200
"""Attempts, the newest, whose names the form suggests."""

CHOICES = {"status": STATUSES, "verdict": VERDICTS, "tier": TIERS, "label": LABELS}


async def runs_page(request: Request) -> Response:
    """List runs that fit, newest first; with a text, where it was found."""
    store = desk_of(request).store
    query, after = read_query(request.query_params), _after(request)
    if query.wanted.text:
        hits = await store.search(query.wanted, limit=PAGE_ROWS, after=after)
        return await listing(request, "search.html", query, after=after, hits=hits)
    runs = await store.runs(query.wanted, limit=PAGE_ROWS, after=after)
    return await listing(request, "runs.html", query, after=after, runs=runs)


async def sessions_page(request: Request) -> Response:
    """List sessions that have a run that fits, by their newest run."""
    query, after = read_query(request.query_params), _after(request)
    sessions = await desk_of(request).store.sessions(query.wanted, limit=PAGE_ROWS, after=after)
    return await listing(request, "sessions.html", query, after=after, sessions=sessions)


async def listing(request: Request, template: str, query: Query, **values: Any) -> Response:
    """Answer with a page that has the form of filters on it."""
    desk = desk_of(request)
    names = await known_names(desk.store)
    return desk.page(request, template, query=query, choices=CHOICES, names=names, **values)


def _after(request: Request) -> str | None:
    return request.query_params.get("after") or None


async def known_names(store: ReviewStore) -> dict[str, list[str]]:
    """Return names that a form can suggest, by parameter: those of the newest attempts."""
    newest = (await store.attempts(EVERYTHING, limit=NAMES_FROM)).items
    return {
        "skill": sorted({row.skill for row in newest}),
        "chain": sorted({row.chain for row in newest}),
        "model": sorted({row.model for row in newest}),
    }
