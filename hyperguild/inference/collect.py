"""Turns one stream into one completion, under time limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from hyperguild.domain.messages import (
    Asked,
    Completion,
    Finish,
    FinishReason,
    ReasoningDelta,
    Sent,
    Source,
    SourcesNamed,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    VerbatimContent,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import ProtocolError
from hyperguild.inference.background import background
from hyperguild.inference.events import CallObserver, Spoke
from hyperguild.inference.limits import CallTimer
from hyperguild.inference.loading import Load
from hyperguild.inference.reasoning import ThinkSplitter
from hyperguild.inference.tool_calls import CallAssembly

ANSWER_MAX_CHARS = 4 * 1024 * 1024
"""Text, reasoning and tool calls of one answer together. The largest output limit of today's models, 128,000
tokens, is half a million characters; a server that sends more does not end of itself."""

TOOL_CALLS_MAX = 256
"""Calls of one answer; models make a handful, and providers allow 128 tools."""

SOURCES_MAX = 1000
"""Pages that an answer cites are kept up to this number: they are read by people."""

LoadWatch = Callable[[Load], Coroutine[Any, Any, None]]
"""Watches a load beside a stream; it is cancelled at the first token."""


@dataclass(slots=True)
class _Answer:
    """What has come so far."""

    text: list[str] = field(default_factory=list)
    calls: CallAssembly = field(default_factory=CallAssembly)
    content: tuple[Mapping[str, Any], ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    finish: FinishReason | None = None

    def completion(self, duration_ms: int) -> Completion:
        """Return it whole. Raises `ProtocolError` where the stream came to no finish."""
        if self.finish is None:
            raise ProtocolError("the stream ended without a finish reason", retryable=True)
        return Completion(
            "".join(self.text),
            self.finish,
            self.usage,
            duration_ms,
            tool_calls=self.calls.calls(),
            content=self.content,
            sources=tuple(self.sources.values()),
        )


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
    finish and for an answer beyond `ANSWER_MAX_CHARS` or `TOOL_CALLS_MAX`, and whatever `ModelError` the
    stream raises. Cancelling, like a limit, closes the stream at once.
    """
    loop = asyncio.get_running_loop()
    answer = _Answer()
    try:
        async with aclosing(parts), asyncio.timeout_at(timer.ends_at()) as limit:

            def limit_moved() -> None:
                limit.reschedule(timer.ends_at())

            load = Load(timer, observe, loop.time, limit_moved)
            reader = _Reader(answer, observe, ThinkSplitter() if split_reasoning else None)
            async with background(watch_load(load)) as watching:
                pace = _Pace(timer, load, watching, observe)
                async for part in parts:
                    pace.take(part, loop.time())
                    reader.take(part)
                    limit_moved()
                reader.end()
    except TimeoutError as exc:
        raise timer.error(loop.time()) from exc
    return answer.completion(round((loop.time() - timer.started_at) * 1000))


@dataclass(frozen=True, slots=True)
class _Pace:
    """Moves the limits of time on with the parts of a stream; `watching` is the load's watch."""

    timer: CallTimer
    load: Load
    watching: asyncio.Task[None]
    observe: CallObserver

    def take(self, part: StreamPart, now: float) -> None:
        match part:
            case Asked():
                self.load.ask()
            case Sent():
                self.load.ask()
                self.load.end()
                self.timer.sent(now)
            case (
                TextDelta(text=something) | ReasoningDelta(text=something) | ToolCallDelta(name=something)
            ) if something:
                if self.timer.phase != "streaming":
                    self.watching.cancel()
                    self.load.end()
                    self.observe(Spoke(self.timer.waited_ms(now)))
                self.timer.token(now)
            case _:
                self.timer.alive(now)


class _Reader:
    """Sorts parts into an answer and tells the observer."""

    def __init__(self, answer: _Answer, observe: CallObserver, splitter: ThinkSplitter | None) -> None:
        self._answer, self._observe, self._splitter = answer, observe, splitter
        self._chars = 0

    def take(self, part: StreamPart) -> None:
        match part:
            case TextDelta(text=text) | ReasoningDelta(text=text):
                self._count(len(text))
            case ToolCallDelta(id=id_, name=name, arguments=arguments):
                self._count(len(id_) + len(name) + len(arguments))
        match part:
            case TextDelta(text=text) if text:
                self._keep([part] if self._splitter is None else self._splitter.feed(text))
            case ReasoningDelta(text=text) if text:
                self._keep([part])
            case ToolCallDelta():
                self._answer.calls.add(part)
                if len(self._answer.calls) > TOOL_CALLS_MAX:
                    raise ProtocolError(f"the model makes more than {TOOL_CALLS_MAX} tool calls at once")
                self._observe(part)
            case VerbatimContent(content=content):
                self._answer.content = content
            case SourcesNamed(sources=sources):
                for source in sources[: SOURCES_MAX - len(self._answer.sources)]:
                    self._answer.sources.setdefault(source.url, source)
            case UsageReport(usage=usage):
                self._answer.usage = usage
                self._observe(part)
            case Finish(reason=reason):
                self._answer.finish = reason

    def end(self) -> None:
        if self._splitter is not None:
            self._keep(self._splitter.flush())

    def _count(self, chars: int) -> None:
        self._chars += chars
        if self._chars > ANSWER_MAX_CHARS:
            raise ProtocolError(
                f"the answer is longer than {ANSWER_MAX_CHARS} characters, its reasoning included",
                hint="set max_output_tokens of the model: it does not end of itself",
            )

    def _keep(self, pieces: Sequence[TextDelta | ReasoningDelta]) -> None:
        for piece in map(_encodable, pieces):
            if isinstance(piece, TextDelta):
                self._answer.text.append(piece.text)
            self._observe(piece)


def _encodable(piece: TextDelta | ReasoningDelta) -> TextDelta | ReasoningDelta:
    """Replace lone surrogates, which JSON escapes can bring in and no encoder lets out."""
    if piece.text.isascii():
        return piece
    text = piece.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return replace(piece, text=text)
