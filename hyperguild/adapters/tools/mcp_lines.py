"""JSON-RPC in lines: cut from a server's output in bounded memory, and read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mcp import types
from mcp.types.jsonrpc import jsonrpc_message_adapter

MESSAGE_MAX_BYTES = 8 * 1024 * 1024
"""A longer message is not taken in: no result of use to a model is so long, and memory stays bounded."""

_EDGE_BYTES = 256
_ID_FIRST = re.compile(rb'^\s*\{"jsonrpc":\s*"2\.0",\s*"id":\s*(\d+)\s*,')
_ID_LAST = re.compile(rb',\s*"id":\s*(\d+)\s*\}\s*$')


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line longer than `MESSAGE_MAX_BYTES`: its size, and the id of the request that it answers, if found.

    The id is one of the first or the last things in a message, depending on who wrote it.
    """

    size_bytes: int
    request_id: int | None


class LineCutter:
    """Cuts a stream of bytes into lines; of one that is too long only the edges are kept."""

    def __init__(self, limit_bytes: int = MESSAGE_MAX_BYTES) -> None:
        self._limit = limit_bytes
        self._line = bytearray()
        self._dropped = 0
        self._head = b""

    def take(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """Yield the lines that end in this chunk, without their line ends; empty ones are left out."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            line = self._finished()
            if isinstance(line, TooLong) or line.strip():
                yield line
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._line += piece
        if self._dropped or len(self._line) > self._limit:
            self._head = self._head or bytes(self._line[:_EDGE_BYTES])
            surplus = max(len(self._line) - _EDGE_BYTES, 0)
            self._dropped += surplus
            del self._line[:surplus]

    def _finished(self) -> bytes | TooLong:
        line, dropped, head = bytes(self._line), self._dropped, self._head
        self._line, self._dropped, self._head = bytearray(), 0, b""
        if not dropped:
            return line
        found = _ID_FIRST.search(head) or _ID_LAST.search(line)
        return TooLong(dropped + len(line), int(found[1]) if found else None)


def message_from(line: bytes) -> types.JSONRPCMessage | None:
    """Return the message that a line holds; None where it is anything else, such as a log line.

    What is not UTF-8, or a lone surrogate, is replaced.
    """
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        pass  # pydantic's reader is strict about characters; the text may be readable for all that
    try:
        text = json.dumps(json.loads(line.decode("utf-8", "replace")), ensure_ascii=False)
        return jsonrpc_message_adapter.validate_json(text.encode("utf-8", "replace"), by_name=False)
    except (ValueError, RecursionError):
        return None


def refusal_of(line: TooLong) -> types.JSONRPCError | None:
    """Return the answer in place of one that is too long; None where nobody knows whose it is."""
    if line.request_id is None:
        return None
    text = f"the answer, {line.size_bytes} bytes, is over the limit of {MESSAGE_MAX_BYTES}; ask for less"
    error = types.ErrorData(code=types.INTERNAL_ERROR, message=text)
    return types.JSONRPCError(jsonrpc="2.0", id=line.request_id, error=error)
