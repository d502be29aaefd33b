from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

from reviewing import accepted, chronicle, review_store

from hyperguild.adapters.clock import SystemClock
from hyperguild.domain.review import Activity, Mark
from hyperguild.service.review.live import Listener, LiveFeed


class QuickClock(SystemClock):
    """Polls as fast as the log answers, and counts."""

    def __init__(self) -> None:
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        await asyncio.sleep(0.001)


async def test_everybody_who_listens_hears_of_a_run_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with chronicle(path) as log, review_store(path) as store:
        feed = LiveFeed(store, QuickClock())
        async with aclosing(feed.stream()) as one, aclosing(feed.stream()) as other:
            assert await anext(one) == "retry: 3000\n\n"
            assert await anext(other) == "retry: 3000\n\n"
            await asyncio.sleep(0.05)  # until the feed has looked where the log ends
            result = await log.run([accepted()])
            heard = [await news_of(one, "ended"), await news_of(other, "ended")]
        assert heard[0] == heard[1] == {result.run_id}


async def news_of(stream: object, kind: str) -> set[str]:
    """Read a stream until something of this kind is told."""
    async with asyncio.timeout(20):
        while True:
            told = await anext(stream)  # type: ignore[call-overload]
            if told.startswith("data: "):
                news = json.loads(told.removeprefix("data: "))
                if kind in news:
                    return set(news[kind])


async def test_the_log_is_watched_only_while_somebody_listens(tmp_path: Path) -> None:
    async with review_store(tmp_path / "log.db") as store:
        clock = QuickClock()
        feed = LiveFeed(store, clock)
        async with feed.listening(), feed.listening():
            await asyncio.sleep(0.05)
            watching = [task for task in asyncio.all_tasks() if task.get_name() == "review-live"]
            assert len(watching) == 1
        await asyncio.sleep(0.02)
        looked = clock.slept
        assert looked > 0
        await asyncio.sleep(0.05)
        assert clock.slept == looked
        async with feed.listening():
            await asyncio.sleep(0.05)
        assert clock.slept > looked


async def test_a_stream_ends_when_the_log_cannot_be_read(tmp_path: Path) -> None:
    async with review_store(tmp_path / "log.db") as store:
        feed = LiveFeed(store, QuickClock())
        async with asyncio.timeout(20), aclosing(feed.stream()) as stream:
            await anext(stream)
            await store.aclose()
            assert [told async for told in stream] == []


def test_a_slow_page_gets_everything_once() -> None:
    mark = Mark(0, 0, 0, frozenset())
    listener = Listener()
    listener.add(Activity(mark))
    assert not listener.wake.is_set()
    listener.add(Activity(mark, started=("a",), progressed=("a",)))
    listener.add(Activity(mark, started=("b",), progressed=("a",), ended=("a",)))
    assert listener.wake.is_set()
    assert listener.take() == {"started": ["a", "b"], "progressed": ["a"], "ended": ["a"]}
    assert listener.take() == {}
    assert not listener.wake.is_set()
