"""The pages that list: runs, sessions, and where a text was found."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hyperguild.domain.review import EVERYTHING
from hyperguild.ports import ReviewStore
from hyperguild.service.review.desk import desk_of
from hyperguild.service.review.filters import LABELS, STATUSES, TIERS, VERDICTS, read_query

PAGE_ROWS = 50
NAMES_FROM = 200
"""Attempts, the newest, whose names the form suggests."""

CHOICES = {"status": STATUSES, "verdict": VERDICTS, "tier": TIERS, "label": LABELS}


async def runs_page(request: Request) -> Response:
    """List runs that fit, newest first; with a text, where it was found."""
    desk = desk_of(request)
    query = read_query(request.query_params)
    after = request.query_params.get("after") or None
    values = {"query": query, "after": after, "choices": CHOICES, "names": await known_names(desk.store)}
    if query.wanted.text:
        hits = await desk.store.search(query.wanted, limit=PAGE_ROWS, after=after)
        return desk.page(request, "search.html", hits=hits, **values)
    runs = await desk.store.runs(query.wanted, limit=PAGE_ROWS, after=after)
    return desk.page(request, "runs.html", runs=runs, **values)


async def sessions_page(request: Request) -> Response:
    """List sessions that have a run that fits, by their newest run."""
    desk = desk_of(request)
    query = read_query(request.query_params)
    after = request.query_params.get("after") or None
    sessions = await desk.store.sessions(query.wanted, limit=PAGE_ROWS, after=after)
    values = {"query": query, "after": after, "choices": CHOICES, "names": await known_names(desk.store)}
    return desk.page(request, "sessions.html", sessions=sessions, **values)


async def known_names(store: ReviewStore) -> dict[str, list[str]]:
    """Return names that a form can suggest, by parameter: those of the newest attempts."""
    newest = (await store.attempts(EVERYTHING, limit=NAMES_FROM)).items
    return {
        "skill": sorted({row.skill for row in newest}),
        "chain": sorted({row.chain for row in newest}),
        "model": sorted({row.model for row in newest}),
    }
