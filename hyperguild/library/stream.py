"""A run under way, as a program sees it: an iterator over its events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from hyperguild.domain.events import Event, RunFinished, RunStarted
from hyperguild.domain.records import RunError, RunResult, UnrecordedRunError
from hyperguild.errors import UsageError
from hyperguild.ports import EventSink


class Running:
    """The runs of a guild that are under way, each a task of its own."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[RunResult]] = set()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, RunResult]) -> asyncio.Task[RunResult]:
        """Start a run. Raises `UsageError` once the guild is closed."""
        if self._closed:
            work.close()
            raise UsageError("the guild is closed", hint="run within the block of Guild.from_config")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Cancel what is still under way and wait until it is recorded. Safe to call twice."""
        self._closed = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Queue:
    """Holds events until they are read, and None once there will be no more.

    It has no bound: a full one would have to hold up the run, or lose events, because somebody reads slowly.
    What can pile up is bounded by what one run says.
    """

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.result: RunResult | None = None
        self._run_id: str | None = None

    def emit(self, event: Event) -> None:
        if isinstance(event, RunStarted) and event.parent_run_id is None:
            self._run_id = event.run_id
        if isinstance(event, RunFinished) and self._run_id in {None, event.run_id}:
            self.result = event.result
        self._events.put_nowait(event)

    def end(self, task: asyncio.Task[RunResult]) -> None:
        del task
        self._events.put_nowait(None)

    async def next(self) -> Event | None:
        return await self._events.get()


class EventStream:
    """The events of one run, in order, as they happen; the last one is its `RunFinished`.

    Those of runs that it delegates stand among them, with a `run_id` of their own.

    ``async with guild.stream(skill, task) as events: async for event in events: …``. The run begins when the
    block is entered, which raises what is wrong with the request. At the end of the iteration the run's own
    error is raised: `RunError` or `UnrecordedRunError`, both with the result, or `StoreError`. Leaving the
    block earlier, in whatever way, cancels the run and waits until that is recorded; then only a log that
    failed is an error.
    """

    def __init__(self, begin: Callable[[EventSink], Awaitable[asyncio.Task[RunResult]]]) -> None:
        self._begin = begin
        self._queue = _Queue()
        self._task: asyncio.Task[RunResult] | None = None
        self._at_end = False

    @property
    def result(self) -> RunResult:
        """The result object, accepted or not. Raises `UsageError` while there is none yet."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            error = task.exception()
            if error is None:
                return task.result()
            if isinstance(error, RunError | UnrecordedRunError):
                return error.result
        if self._queue.result is None:
            raise UsageError("the run has no result yet", hint="read its events to the end")
        return self._queue.result

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise UsageError("a stream of events is entered once", hint="call guild.stream again")
        self._task = await self._begin(self._queue)
        self._task.add_done_callback(self._queue.end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the run unless it has ended, and wait for it."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        failure = None if self._task.cancelled() else self._task.exception()
        if error is None and failure is not None and not self._at_end and not isinstance(failure, RunError):
            raise failure

    def __aiter__(self) -> Self:
        if self._task is None:
            raise UsageError("the run has not begun", hint="async with guild.stream(…) as events: …")
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Cancelling the wait alone leaves the run as it is."""
        if self._at_end or self._task is None:
            raise StopAsyncIteration
        event = await self._queue.next()
        if event is not None:
            return event
        self._at_end = True
        if self._task.cancelled():
            raise UsageError("the guild was closed before the run had ended")
        self._task.result()
        raise StopAsyncIteration
