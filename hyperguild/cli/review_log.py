"""Opens the session log for the commands that look back at it, label and prune; reads whole listings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.cli.log_reading import is_there
from hyperguild.cli.options import Settings
from hyperguild.domain.review import Page, ReviewFilter
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import ConfigError, UsageError
from hyperguild.ports import ReviewStore

T = TypeVar("T")


@asynccontextmanager
async def open_review(settings: Settings, *, writing: bool = False) -> AsyncGenerator[ReviewStore, None]:
    """Open the session log; for `writing` with what is known of secrets, for notes may hold some.

    Raises `UsageError` where there is none yet, and `StoreError`.
    """
    path = settings.db_file()
    if not is_there(path):
        raise UsageError(f"no session log yet at {path}", hint="`hyperguild run` makes it")
    scrubber = secrets_of(settings) if writing else Scrubber()
    clock = SystemClock()
    store = await SqliteReviewStore.open(
        path, scrubber=scrubber, clock=clock, ids=system_ids(clock), read_only=not writing
    )
    try:
        yield store
    finally:
        await store.aclose()


def secrets_of(settings: Settings) -> Scrubber:
    """Return a scrubber that knows the keys of chains.yaml; where there is none, shapes of keys alone."""
    from hyperguild.bootstrap import known_secrets  # noqa: PLC0415  # start-up

    try:
        return known_secrets(settings.load(trusted=False), settings.env)
    except ConfigError:
        return Scrubber()


async def meant(store: ReviewStore, wanted: ReviewFilter) -> ReviewFilter:
    """Return the filter with the id of the session that its `session_id` means. Raises `UsageError`."""
    if wanted.session_id is None:
        return wanted
    return wanted.model_copy(update={"session_id": await store.resolve_session(wanted.session_id)})


async def collected(
    fetch: Callable[[int, str | None], Awaitable[Page[T]]], limit: int, after: str | None
) -> Page[T]:
    """Return the first `limit` items after `after`, of as many pages as that takes."""
    items: list[T] = []
    while True:
        page = await fetch(limit - len(items), after)
        items += page.items
        after = page.after
        if after is None or len(items) >= limit:
            return Page(tuple(items), after)
