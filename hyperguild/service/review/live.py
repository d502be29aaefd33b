"""Tells every open page what happens in the log, whatever process does it: one look at it serves them all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hyperguild.domain.review import Activity
from hyperguild.errors import StoreError
from hyperguild.ports import Clock, ReviewStore

POLL_S = 0.5
"""Soon enough to look live; a look costs well under a millisecond."""

KEEP_ALIVE_S = 15.0
"""Proxies and browsers give up on a stream that is silent for longer than half a minute or so."""

RETRY_MS = 3000
"""After which the browser connects again."""


@dataclass(slots=True)
class Listener:
    """What one open page has not been told yet: ids of runs, each once."""

    news: dict[str, dict[str, None]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def add(self, activity: Activity) -> None:
        """Keep it until the page takes it; a page that is slow gets it all at once."""
        for kind in ("started", "progressed", "ended"):
            ids: tuple[str, ...] = getattr(activity, kind)
            if ids:
                self.news.setdefault(kind, {}).update(dict.fromkeys(ids))
                self.wake.set()

    def take(self) -> dict[str, list[str]]:
        """Return what is new: `{"started" | "progressed" | "ended": [run_id]}`, only those that are."""
        news = {kind: list(ids) for kind, ids in self.news.items()}
        self.news.clear()
        self.wake.clear()
        return news


class LiveFeed:
    """Watches the log while somebody listens; not otherwise."""

    def __init__(self, store: ReviewStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._listeners: list[Listener] = []
        self._watching: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        """Listen while the block runs, from now on; `closed` once the log cannot be read any more."""
        listener = Listener()
        self._listeners.append(listener)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="review-live")
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
            if not self._listeners and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def stream(self) -> AsyncGenerator[str, None]:
        """Yield server-sent events until the log cannot be read any more, or the client is gone."""
        async with self.listening() as listener:
            yield f"retry: {RETRY_MS}\n\n"
            while not listener.closed:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await listener.wake.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                news = listener.take()
                if news:
                    yield f"data: {json.dumps(news)}\n\n"

    async def _watch(self) -> None:
        try:
            mark = (await self._store.activity(None)).mark
            while True:
                await self._clock.sleep(POLL_S)
                activity = await self._store.activity(mark)
                mark = activity.mark
                for listener in self._listeners:
                    listener.add(activity)
        except StoreError:
            # Its pages say so when they are next asked for; until then nothing is live.
            for listener in self._listeners:
                listener.closed = True
                listener.wake.set()
