"""Server-sent events in bounded memory, with the lines that the format would drop.

httpx-sse's reader buffers lines without a limit, replaces what is not UTF-8 and drops every line that is no
field; llama-swap, llama.cpp and proxies put their errors into just such lines. Its event type is used here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from httpx_sse import ServerSentEvent

from hyperguild.adapters.wire.exchange import Answer
from hyperguild.errors import ProtocolError

LINE_MAX_BYTES = 8 * 1024 * 1024
"""A longer line is refused; an event of a chat stream holds a few hundred bytes."""

COMMENT = "comment"
"""The name under which a comment line is given: servers send them to keep a connection alive."""

BARE = "bare"
"""The name under which a line is given that is JSON and no field, or an `error:` field."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BrokenStreamError(Exception):
    """The bytes are no event stream; the message says why."""


class LineSplitter:
    """Cuts bytes into lines, however they are chunked. Lines end in LF, CR or CRLF."""

    def __init__(self) -> None:
        self._open = bytearray()
        self._after_return = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes; return the lines that are complete now. Raises `BrokenStreamError` for one too long."""
        if not chunk:
            return []
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        first, *others = _LINE_END.split(chunk)
        self._open += first
        lines = []
        for piece in others:
            lines.append(self._close())
            self._open += piece
        if len(self._open) > LINE_MAX_BYTES:
            raise BrokenStreamError(f"a line is longer than {LINE_MAX_BYTES} bytes")
        return lines

    def flush(self) -> list[bytes]:
        """Return the last line, if it has no end."""
        return [self._close()] if self._open else []

    def _close(self) -> bytes:
        line = bytes(self._open)
        self._open.clear()
        if len(line) > LINE_MAX_BYTES:
            raise BrokenStreamError(f"a line is longer than {LINE_MAX_BYTES} bytes")
        return line


class EventDecoder:
    """Makes events of bytes. An event at the end needs no empty line behind it."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._at_start = True

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Take bytes; yield the events that are complete now. Raises `BrokenStreamError`."""
        for line in self._lines.feed(chunk):
            yield from self._take(line)

    def flush(self) -> Iterator[ServerSentEvent]:
        """Yield what is left at the end of the stream. Raises `BrokenStreamError`."""
        for line in self._lines.flush():
            yield from self._take(line)
        yield from self._take(b"")

    def _take(self, raw: bytes) -> Iterator[ServerSentEvent]:
        if self._at_start:
            raw, self._at_start = raw.removeprefix(_BYTE_ORDER_MARK), False
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise BrokenStreamError("a line is not UTF-8") from exc
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield from self._dispatch()
        elif line.startswith(":"):
            yield ServerSentEvent(event=COMMENT, data=value)
        elif line.lstrip().startswith("{"):
            yield ServerSentEvent(event=BARE, data=line)
        elif name == "error":
            yield ServerSentEvent(event=BARE, data=value)
        elif name == "event":
            self._name = value
        elif name == "data":
            self._size += len(raw)
            if self._size > LINE_MAX_BYTES:
                raise BrokenStreamError(f"an event is longer than {LINE_MAX_BYTES} bytes")
            self._data.append(value)

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        if self._data:
            yield ServerSentEvent(event=self._name, data="\n".join(self._data))
        self._name, self._data, self._size = "", [], 0


async def events(answer: Answer) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of an answer. Raises `ProtocolError` for what is no event stream, or breaks off."""
    decoder = EventDecoder()
    try:
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                for event in decoder.feed(chunk):
                    yield event
        for event in decoder.flush():
            yield event
    except BrokenStreamError as exc:
        message = f"{answer.peer.who} sends a broken stream: {exc}"
        raise answer.peer.error(ProtocolError, message, retryable=True) from exc
