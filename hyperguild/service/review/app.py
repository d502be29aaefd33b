"""The review pages as one application, to be served alone or mounted in another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from hyperguild.domain.chain import Model
from hyperguild.errors import HyperguildError, UsageError
from hyperguild.ports import Clock, ReviewStore
from hyperguild.review.calibration import NowOf
from hyperguild.service.access import SafeHeaders, SameOrigin
from hyperguild.service.review.desk import Desk, desk_of
from hyperguild.service.review.insight import calibration_page, statistics_page
from hyperguild.service.review.listings import runs_page, sessions_page
from hyperguild.service.review.live import LiveFeed
from hyperguild.service.review.runs import label_attempt, queue_page, run_page
from hyperguild.service.review.shown import environment

_STATIC = Path(__file__).with_name("static")
_FILES = {"review.css": "text/css", "review.js": "text/javascript", "icon.svg": "image/svg+xml"}


def review_app(
    store: ReviewStore,
    *,
    clock: Clock,
    reviewer: str,
    last_tiers: Mapping[str, Model] | None = None,
    now_of: NowOf | None = None,
) -> Starlette:
    """Return the pages over a log; labels are the reviewer's.

    `last_tiers` are the last tiers' models by chain, for what was saved; `now_of` tells the thresholds that
    apply now (None: as last recorded).

    Everything that is asked for is answered: who may ask is for a `TokenGuard` around it, or for what it is
    mounted in. Changes are taken from its own pages only. The store stays open: it is the caller's.
    """
    app = Starlette(
        routes=[
            Route("/", runs_page, methods=["GET"]),
            Route("/sessions", sessions_page, methods=["GET"]),
            Route("/runs/{run_id}", run_page, methods=["GET"]),
            Route("/review", queue_page, methods=["GET"]),
            Route("/attempts/{attempt_id}/label", label_attempt, methods=["POST"]),
            Route("/statistics", statistics_page, methods=["GET"]),
            Route("/calibration", calibration_page, methods=["GET"]),
            Route("/events", _events, methods=["GET"]),
            Route("/static/{name}", _static, methods=["GET"]),
        ],
        middleware=[Middleware(SafeHeaders), Middleware(SameOrigin)],
        exception_handlers={HTTPException: _refused, HyperguildError: _failed, Exception: _broken},
    )
    app.state.desk = Desk(
        store, clock, reviewer, environment(), LiveFeed(store, clock), last_tiers or {}, now_of
    )
    return app


async def _events(request: Request) -> Response:
    """What happens in the log, as server-sent events; ends with the connection."""
    return StreamingResponse(desk_of(request).feed.stream(), media_type="text/event-stream")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(_STATIC / name, media_type=_FILES[name])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    return desk_of(request).page(request, "error.html", error.status_code, message=error.detail, hint=None)


async def _broken(request: Request, error: Exception) -> Response:
    """Tell of a fault of ours in one line; it is raised on, for the server to log."""
    message = f"internal error: {type(error).__name__}: {error}"
    return desk_of(request).page(request, "error.html", 500, message=message, hint=None)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HyperguildError)  # noqa: S101  # what it is registered for
    status = 400 if isinstance(error, UsageError) else 503
    return desk_of(request).page(request, "error.html", status, message=error.message, hint=error.hint)
