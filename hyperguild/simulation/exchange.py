"""One HTTP exchange as a face handles it: the request that came, and the ways to answer or to break off."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import Message, Scope, Send

from hyperguild.simulation.journal import Journal, Record

TRANSPORT_KEY = "hyperguild.transport"
"""Where the server puts the connection into the ASGI scope, for the answers that break the rules of HTTP."""

Headers = Mapping[str, str]
Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """A request whose body has come, and its answer.

    `start`, `write` and `end` stream; `respond` does all three. Each remembers in the record what was sent.
    `on_start` is told the headers of the answer before they go.
    """

    def __init__(self, scope: Scope, body: bytes, send: Send, journal: Journal, record: Record) -> None:
        self.scope = scope
        self.body = body
        self.record = record
        self.headers = request_headers(scope)
        self.started = False
        self.ended = False
        self.on_start: Callable[[Headers], None] | None = None
        self._send = send
        self._journal = journal

    @property
    def params(self) -> dict[str, str]:
        """The named parts of the path."""
        found: dict[str, str] = self.scope.get("path_params", {})
        return found

    def json_object(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None when it is anything else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status line and the headers."""
        self.started = True
        self.record.status = status
        self.record.content_type = headers.get("content-type", "")
        if self.on_start is not None:
            self.on_start(headers)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if self.record.first_byte_ms is None:
            self.record.first_byte_ms = self._journal.now_ms()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.record.bytes_sent += len(data)

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body; the HTTP message ends cleanly."""
        if data and self.record.first_byte_ms is None:
            self.record.first_byte_ms = self._journal.now_ms()
        message: Message = {"type": "http.response.body", "body": data, "more_body": False}
        await self._send(message)
        self.record.bytes_sent += len(data)
        self.ended = True

    async def respond(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole answer with its length."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.end(body)

    async def respond_json(self, status: int, value: object, headers: Headers | None = None) -> None:
        """Send a value as JSON."""
        body = json.dumps(value).encode()
        await self.respond(status, body, {"content-type": "application/json", **(headers or {})})

    async def cut(self, *, reset: bool = False) -> None:
        """Break the connection off, with a TCP reset if asked for.

        Unless the answer was complete, it does not return but by cancellation.
        """
        transport = self._transport()
        if reset:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        if self.ended:
            return
        self.record.outcome = "crashed"
        await asyncio.Event().wait()

    async def respond_slowly(
        self, body: bytes, headers: Headers, pause: Callable[[], Awaitable[None]]
    ) -> None:
        """Send a 200 whose head comes byte by byte with a pause before each, then close the connection.

        Like `cut` it does not return but by cancellation: the server below knows nothing of this answer.
        """
        transport = self._transport()
        lines = [
            f"HTTP/1.1 200 {HTTPStatus.OK.phrase}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "\r\n"]).encode(
            "latin-1"
        )
        self.started = True
        self.record.status = 200
        self.record.first_byte_ms = self._journal.now_ms()
        for index in range(len(head)):
            await pause()
            transport.write(head[index : index + 1])
        transport.write(body)
        self.record.bytes_sent = len(body)
        self.record.outcome = "completed"
        transport.close()
        await asyncio.Event().wait()

    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.scope[TRANSPORT_KEY]
        return transport


def request_headers(scope: Scope) -> dict[str, str]:
    """The headers of a request, names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
