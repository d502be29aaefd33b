"""Reads what `sessions list` and `sessions search` print."""

from __future__ import annotations

from typing import Literal

from hyperguild.cli.log_reading import is_there
from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import collected, meant, open_review
from hyperguild.domain.records import SessionSummary
from hyperguild.domain.review import AttemptRow, Hit, Page, ReviewFilter, RunRow

Item = SessionSummary | RunRow | AttemptRow


async def newest(
    settings: Settings,
    what: Literal["sessions", "runs", "attempts"],
    wanted: ReviewFilter,
    limit: int,
    after: str | None,
) -> Page[Item]:
    """Return what fits, newest first; nothing where there is no log yet.

    Raises `UsageError` for a session that is none, and for a cursor or a text that make no sense.
    """
    if not is_there(settings.db_file()):
        return Page(())
    async with open_review(settings) as store:
        fitting = await meant(store, wanted)

        async def fetch(number: int, cursor: str | None) -> Page[Item]:
            found: Page[SessionSummary] | Page[RunRow] | Page[AttemptRow]
            if what == "runs":
                found = await store.runs(fitting, limit=number, after=cursor)
            elif what == "attempts":
                found = await store.attempts(fitting, limit=number, after=cursor)
            else:
                found = await store.sessions(fitting, limit=number, after=cursor)
            return Page(tuple(found.items), found.after)

        return await collected(fetch, limit, after)


async def hits(settings: Settings, wanted: ReviewFilter, limit: int, after: str | None) -> Page[Hit]:
    """Return where `wanted.text` is found, newest first. Raises `UsageError`, also for no log."""
    async with open_review(settings) as store:
        fitting = await meant(store, wanted)
        return await collected(
            lambda number, cursor: store.search(fitting, limit=number, after=cursor), limit, after
        )
