"""A client that redacts: secrets leave the request before it is sent, and come back in the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

from hyperguild.domain.messages import (
    Finish,
    KeepAlive,
    ModelRequest,
    ReasoningDelta,
    SourcesNamed,
    StreamPart,
    TextDelta,
    ToolCallDelta,
)
from hyperguild.inference.redaction import Redacted, Redactor
from hyperguild.inference.restoring import Restorer
from hyperguild.ports import ModelClient

IN_THREAD_FROM_CHARS = 200_000
"""A longer request is redacted in a thread: it would hold up the others for 10 ms and more."""

_LOG = logging.getLogger("hyperguild.redaction")


class RedactingClient:
    """A `ModelClient` around another one, for the models whose requests are redacted; others pass through.

    Pictures and what the provider gets back verbatim are not touched, in either direction: what is signed
    stays as it was, with the placeholders that the provider has seen. Of each stream only what may still
    become a placeholder is held back, until its end at the latest.
    """

    def __init__(self, inner: ModelClient, redactor: Redactor) -> None:
        self._inner = inner
        self._redactor = redactor

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """See `ModelClient.stream`. Raises `BadRequestError` where configured patterns take too long."""
        if not self._redactor.applies_to(request.model):
            return self._inner.stream(request)
        return self._redacted(request)

    async def aclose(self) -> None:
        """Close the inner client. Safe to call twice."""
        await self._inner.aclose()

    async def _redacted(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        redacted = await self._redact(request)
        async with aclosing(self._inner.stream(redacted.request)) as parts:
            if not redacted.originals:
                async for part in parts:
                    yield part
                return
            _LOG.debug(
                "redaction.replaced endpoint=%s model=%s secrets=%d",
                request.model.endpoint.name,
                request.model.name,
                len(redacted.originals),
            )
            answer = _Answer(redacted)
            async for part in parts:
                for restored in answer.take(part):
                    yield restored
            for restored in answer.end():
                yield restored

    async def _redact(self, request: ModelRequest) -> Redacted:
        size = sum(len(message.text) for message in request.messages)
        if self._redactor.may_take_long or size >= IN_THREAD_FROM_CHARS:
            return await asyncio.to_thread(self._redactor.redact, request)
        return self._redactor.redact(request)


class _Answer:
    """The streams of text in one answer, each with its secrets put back."""

    def __init__(self, redacted: Redacted) -> None:
        self._originals = redacted.originals
        # An answer that is bound to a schema is JSON, and a secret may hold a quote or a line end.
        self._text = Restorer(redacted.originals, in_json=redacted.request.response_schema is not None)
        self._reasoning = Restorer(redacted.originals)
        self._calls: dict[int, tuple[str, Restorer]] = {}

    def take(self, part: StreamPart) -> Iterator[StreamPart]:
        match part:
            case TextDelta(text=text):
                restored = self._text.feed(text)
                yield TextDelta(restored) if restored else KeepAlive()
            case ReasoningDelta(text=text):
                restored = self._reasoning.feed(text)
                yield ReasoningDelta(restored) if restored else KeepAlive()
            case ToolCallDelta(index=index, arguments=arguments):
                known, call = self._calls.get(index, ("", None))
                if call is not None and part.id and known and part.id != known:
                    # The assembly of calls begins another one here: some servers count none of them.
                    yield from _flushed(index, call)
                    call = None
                call = call or Restorer(self._originals, in_json=True)
                self._calls[index] = (part.id or known, call)
                yield replace(part, arguments=call.feed(arguments))
            case SourcesNamed(sources=sources):
                whole = self._reasoning.whole
                yield SourcesNamed(
                    tuple(replace(one, url=whole(one.url), title=whole(one.title)) for one in sources)
                )
            case Finish():
                yield from self.end()
                yield part
            case _:
                yield part

    def end(self) -> Iterator[StreamPart]:
        """Give out what was held back."""
        if rest := self._reasoning.flush():
            yield ReasoningDelta(rest)
        if rest := self._text.flush():
            yield TextDelta(rest)
        for index, (_, call) in self._calls.items():
            yield from _flushed(index, call)


def _flushed(index: int, call: Restorer) -> Iterator[ToolCallDelta]:
    if rest := call.flush():
        yield ToolCallDelta(index, arguments=rest)
