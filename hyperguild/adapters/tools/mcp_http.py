"""MCP servers at an address: streamable HTTP, with bounded answers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from hyperguild.adapters.tools.mcp_lines import MESSAGE_MAX_BYTES
from hyperguild.adapters.wire.transport import is_loopback
from hyperguild.adapters.wire.wording import shown_url
from hyperguild.domain.mcp import McpServer

CONNECT_TIMEOUT_S = 10.0
"""Only connecting is limited here: every request has its limit where it is made."""

_SESSION_HEADER = "mcp-session-id"


class HttpTransport:
    """One connection to a server at an address.

    `refusal` is the status of the last request that the server refused; `session_lost`: it has forgotten the
    session, which has to be begun anew.
    """

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._url = server.url or ""
        self.refusal: int | None = None
        self.session_lost = False

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Any, None]:  # the package keeps its streams' types to itself
        """Open the connection and yield its streams; nothing is sent before they are used."""
        client = httpx2.AsyncClient(
            headers={"user-agent": "hyperguild", "accept-encoding": "identity", **self._server.headers},
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            event_hooks={"response": [self._look]},
            verify=self._tls(),
            trust_env=not is_loopback(self._url),
        )
        async with (
            client,
            streamable_http_client(
                self._url, http_client=client, max_sse_event_size=MESSAGE_MAX_BYTES
            ) as streams,
        ):
            yield streams

    def _tls(self) -> ssl.SSLContext | bool:
        """Return what certificates are checked against; loading the public ones takes a while."""
        return self._url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def shown(self) -> str:
        """Return the address without what may be secret in it."""
        return shown_url(self._url)

    def reason(self, error: Exception) -> str | None:
        """Return why the connection failed, None where it was not the network."""
        if not isinstance(error, httpx2.HTTPError):
            return None
        causes = list(_causes(error))
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return f"nothing listens at {self.shown()}"
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return f"no address is known for the host of {self.shown()}"
        if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
            return f"no TLS connection to {self.shown()}: {tls.reason or tls}"
        if isinstance(error, httpx2.ConnectTimeout):
            return f"could not connect to {self.shown()} within {CONNECT_TIMEOUT_S:g} s"
        return f"the connection to {self.shown()} broke: {str(error).rstrip('.') or type(error).__name__}"

    def refused(self) -> str | None:
        """Return the status of the last refusal in words, None where there was none."""
        if self.refusal is None:
            return None
        try:
            phrase = f" {HTTPStatus(self.refusal).phrase}"
        except ValueError:
            phrase = ""
        return f"HTTP {self.refusal}{phrase} from {self.shown()}"

    async def _look(self, response: httpx2.Response) -> None:
        """Note refusals, and bound what is read whole: answers that are no event stream."""
        request = response.request
        if response.status_code >= 400 and request.method == "POST":
            self.refusal = response.status_code
            self.session_lost |= response.status_code == 404 and _SESSION_HEADER in request.headers
        packed = response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"", "identity"}:  # it could grow beyond all bounds as it is unpacked
            message = f"its answer is compressed ({packed}), and was not asked to be"
            raise httpx2.DecodingError(message, request=request)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an async client's
            response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    """A body that fails once it is longer than `MESSAGE_MAX_BYTES`."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._body:
            size += len(chunk)
            if size > MESSAGE_MAX_BYTES:
                raise httpx2.StreamError(f"more than {MESSAGE_MAX_BYTES} bytes; ask for less")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
