"""Turns one stream into one completion, under time limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from hyperguild.domain.messages import (
    Completion,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    StreamPart,
    TextDelta,
    UsageReport,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import ProtocolError
from hyperguild.inference.background import background
from hyperguild.inference.events import CallObserver
from hyperguild.inference.limits import CallTimer
from hyperguild.inference.reasoning import ThinkSplitter

LoadWatch = Callable[[Callable[[], None], Callable[[], None]], Awaitable[None]]
"""Watches a load: calls its first argument if the model is not ready, its second once it is."""


@dataclass(slots=True)
class _Answer:
    """What has come so far."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish: FinishReason | None = None


async def collect(
    parts: AsyncGenerator[StreamPart, None],
    timer: CallTimer,
    observe: CallObserver,
    *,
    watch_load: LoadWatch | None,
    split_reasoning: bool,
) -> Completion:
    """Read the stream to its end; return the answer.

    Raises `ModelTimeoutError` when a limit of `timer` is reached, `ProtocolError` for a stream without a
    finish, and whatever `ModelError` the stream raises. Cancelling, like a limit, closes the stream at once.
    """
    loop = asyncio.get_running_loop()
    answer = _Answer()
    try:
        async with aclosing(parts), asyncio.timeout_at(timer.ends_at()) as limit:

            def began_loading() -> None:
                timer.load(loop.time())
                limit.reschedule(timer.ends_at())

            def became_ready() -> None:
                timer.ready(loop.time())
                limit.reschedule(timer.ends_at())

            async def watch() -> None:
                if watch_load is not None:
                    await watch_load(began_loading, became_ready)

            async with background(watch()):
                reader = _Reader(answer, timer, observe, ThinkSplitter() if split_reasoning else None)
                async for part in parts:
                    reader.take(part, loop.time())
                    limit.reschedule(timer.ends_at())
                reader.end(loop.time())
    except TimeoutError as exc:
        raise timer.error(loop.time()) from exc
    if answer.finish is None:
        raise ProtocolError("the stream ended without a finish reason", retryable=True)
    return Completion(
        text="".join(answer.text),
        reasoning="".join(answer.reasoning),
        finish_reason=answer.finish,
        usage=answer.usage,
        duration_ms=round((loop.time() - timer.started_at) * 1000),
        first_token_ms=timer.first_token_ms(),
        load_ms=timer.load_ms(),
    )


class _Reader:
    """Sorts parts into an answer and tells the observer."""

    def __init__(
        self, answer: _Answer, timer: CallTimer, observe: CallObserver, splitter: ThinkSplitter | None
    ) -> None:
        self._answer, self._timer, self._observe, self._splitter = answer, timer, observe, splitter

    def take(self, part: StreamPart, now: float) -> None:
        match part:
            case KeepAlive():
                self._timer.alive(now)
            case TextDelta(text=text) if text:
                self._timer.token(now)
                pieces = [part] if self._splitter is None else self._splitter.feed(text)
                self._keep(pieces)
            case ReasoningDelta(text=text) if text:
                self._timer.token(now)
                self._keep([part])
            case UsageReport(usage=usage):
                self._answer.usage = usage
                self._observe(part)
            case Finish(reason=reason):
                self._answer.finish = reason
                self._timer.alive(now)

    def end(self, now: float) -> None:
        self._timer.alive(now)
        if self._splitter is not None:
            self._keep(self._splitter.flush())

    def _keep(
        self, pieces: list[TextDelta | ReasoningDelta] | list[TextDelta] | list[ReasoningDelta]
    ) -> None:
        for piece in pieces:
            (self._answer.text if isinstance(piece, TextDelta) else self._answer.reasoning).append(piece.text)
            self._observe(piece)
