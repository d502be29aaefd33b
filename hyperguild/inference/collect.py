"""Turns one stream into one completion, under time limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

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
from hyperguild.inference.loading import Load
from hyperguild.inference.reasoning import ThinkSplitter

LoadWatch = Callable[[Load], Coroutine[Any, Any, None]]
"""Watches a load beside a stream; it is cancelled when the stream ends."""


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
    watch_load: LoadWatch,
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

            def limit_moved() -> None:
                limit.reschedule(timer.ends_at())

            load = Load(timer, observe, loop.time, limit_moved)
            reader = _Reader(answer, timer, observe, ThinkSplitter() if split_reasoning else None)
            async with background(watch_load(load)):
                async for part in parts:
                    if isinstance(part, TextDelta | ReasoningDelta) and part.text:
                        load.end()
                    reader.take(part, loop.time())
                    limit_moved()
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
        for piece in map(_encodable, pieces):
            (self._answer.text if isinstance(piece, TextDelta) else self._answer.reasoning).append(piece.text)
            self._observe(piece)


def _encodable(piece: TextDelta | ReasoningDelta) -> TextDelta | ReasoningDelta:
    """Replace lone surrogates, which JSON escapes can bring in and no encoder lets out."""
    if piece.text.isascii():
        return piece
    text = piece.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return replace(piece, text=text)
