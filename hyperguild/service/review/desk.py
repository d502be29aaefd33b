"""What every page works with, and how a page is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

from hyperguild.domain.chain import Model
from hyperguild.domain.review import ReviewFilter
from hyperguild.ports import Clock, ReviewStore
from hyperguild.review.calibration import NowOf
from hyperguild.service.review.live import LiveFeed
from hyperguild.service.review.run_view import RunView, run_view

DELEGATED_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Desk:
    """The log, the clock, who labels, the templates and the feed of what happens.

    `last_tiers` are the last tiers' models by chain, for what was saved; `now_of` tells the thresholds that
    apply now, and where it is None they are those last recorded.
    """

    store: ReviewStore
    clock: Clock
    reviewer: str
    templates: Environment
    feed: LiveFeed
    last_tiers: Mapping[str, Model]
    now_of: NowOf | None

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Answer with a page. `base` is where the application is mounted; links begin with it."""
        known = {
            "base": request.scope.get("root_path", ""),
            "path": request.url.path.removeprefix(request.scope.get("root_path", "")),
            "now": self.clock.now(),
            "reviewer": self.reviewer,
        }
        return HTMLResponse(self.templates.get_template(template).render({**known, **values}), status)

    async def run(self, run_id: str) -> RunView | None:
        """Return a run as it is shown, or None. Raises `StoreError`."""
        stored = await self.store.run(run_id)
        if stored is None:
            return None
        ids: Sequence[str] = [attempt.attempt_id for attempt in stored.result.attempts]
        labels = await self.store.labels(ids) if ids else {}
        during = ReviewFilter(session_id=stored.result.session_id, since=stored.created_at)
        around = await self.store.runs(during, limit=DELEGATED_SHOWN)
        delegated = [row for row in reversed(around.items) if row.parent_run_id == run_id]
        return run_view(stored, labels, delegated)


def desk_of(request: Request) -> Desk:
    """Return what the application was made with."""
    desk: Desk = request.app.state.desk
    return desk
