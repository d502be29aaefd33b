"""One HTTP exchange with an endpoint: opened, bounded, its failures named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from hyperguild.adapters.wire.http_errors import error_from_response
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.network_errors import error_from_transport
from hyperguild.adapters.wire.peer import Peer
from hyperguild.adapters.wire.transport import TransportFactory, auth_headers, open_http
from hyperguild.adapters.wire.turns import Turns
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.errors import BadRequestError, ModelError, ProtocolError

ERROR_BODY_MAX_BYTES = 65_536
"""As much of an error's body is read; all of them say what they have to say in less."""

RESPONSE_MAX_BYTES = 64 * 1024 * 1024
"""A longer stream is refused: 128,000 tokens, the most that a model writes today, are 50 MB of events of 400
bytes. It is read as it comes; what is kept of it has limits of its own."""

DOCUMENT_MAX_BYTES = 8 * 1024 * 1024
"""A longer answer that is read whole is refused: the longest one that is no stream, and the longest list of
models, have less than a tenth. Its JSON may take many times that in memory."""

SAFE_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
"""Compression is never asked for. Some gateways compress all the same; what is compressed twice, or by
another method, can grow beyond all bounds as it is unpacked."""

DRAIN_S = 0.05
"""How long the end of a finished answer is waited for, so that its connection can be used again."""


class Answer:
    """An answer whose body is still to come."""

    def __init__(self, response: httpx.Response, peer: Peer) -> None:
        self._response = response
        self._chunks = response.aiter_bytes()
        self.peer = peer

    @property
    def content_type(self) -> str:
        """Its media type in lower case, without parameters; "" where it names none."""
        header: str = self._response.headers.get("content-type", "")
        return header.partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes.

        Raises `ProtocolError` where it breaks off, exceeds the limit, or is packed without a bound.
        """
        encoding: str = self._response.headers.get("content-encoding", "").strip().lower()
        if encoding not in SAFE_ENCODINGS:
            message = f"{self.peer.who} compresses its answer ({encoding}), and was not asked to"
            raise self.peer.error(ProtocolError, message, hint="switch that off at the server or its proxy")
        size = 0
        try:
            async for chunk in self._chunks:
                size += len(chunk)
                if size > RESPONSE_MAX_BYTES:
                    raise self.peer.error(
                        ProtocolError, f"{self.peer.who} sends more than {RESPONSE_MAX_BYTES} bytes"
                    )
                yield chunk
        except httpx.RequestError as exc:
            raise error_from_transport(self.peer, exc, began=True) from exc

    async def whole(self) -> bytes:
        """Return the body. Raises `ProtocolError` where it breaks off or exceeds `DOCUMENT_MAX_BYTES`."""
        body = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > DOCUMENT_MAX_BYTES:
                    message = f"{self.peer.who} sends a document of more than {DOCUMENT_MAX_BYTES} bytes"
                    raise self.peer.error(ProtocolError, message)
        return bytes(body)

    async def beginning(self) -> bytes:
        """Return as much of an error's body as there is, up to `ERROR_BODY_MAX_BYTES`."""
        body = bytearray()
        try:
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= ERROR_BODY_MAX_BYTES:
                        break
        except ProtocolError:
            pass  # the status and what has come say more than that the rest is missing
        return bytes(body[:ERROR_BODY_MAX_BYTES])

    async def drain(self) -> None:
        """Read what little may be left after the end of a finished answer; never raises for it."""
        try:
            async with asyncio.timeout(DRAIN_S):
                async for _ in self._chunks:
                    pass
        except (TimeoutError, httpx.RequestError, httpx.StreamError):
            return  # the connection is not used again; the answer was complete


class Exchanger:
    """Sends requests to one endpoint: key, connection pool, concurrency limit.

    Opens its client with the first request. Generations wait for their `turn`; what only asks for a list (a
    probe, an inventory) does not, and so never stands behind them.
    """

    def __init__(self, endpoint: Endpoint, keys: KeyRing, transport_factory: TransportFactory) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._transport_factory = transport_factory
        self._http: httpx.AsyncClient | None = None
        self._turns = Turns(endpoint)

    def peer(self, model: Model | None = None, *, tools: int = 0) -> Peer:
        """Return who is spoken to, for messages; the key is known to it once it has been read."""
        secrets = self._keys.secrets(self.endpoint)
        if model is None:
            return Peer(self.endpoint, secrets=secrets)
        return Peer(self.endpoint, model.name, model.upstream, secrets, tools)

    @asynccontextmanager
    async def turn(self, model: Model) -> AsyncIterator[None]:
        """Wait for a turn in line, as `Turns.turn` does; hold it while in the context.

        Once inside, key and client are ready, so that nothing but the server's time passes in `send`. Raises
        `ModelError` where they cannot be had.
        """
        async with self._turns.turn(model):
            await self._prepared(model)
            yield

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        *,
        model: Model | None = None,
        body: Mapping[str, Any] | None = None,
        tools: int = 0,
    ) -> AsyncIterator[Answer]:
        """Send a request, `body` as JSON, with so many tools in it; give its answer, if that is a success.

        Takes no turn. Leaving the context drops a connection that is still in use. Raises `ModelError` for
        every other answer, for a key or a connection that cannot be had and for a body that JSON cannot
        express; `model` and `endpoint` are set on it.
        """
        http, headers = await self._prepared(model)
        peer = self.peer(model, tools=tools)
        content = None
        if body is not None:
            content = _encoded(body, peer)
            headers["content-type"] = "application/json"
        began = False
        try:
            async with http.stream(method, url, content=content, headers=headers) as response:
                began = True
                answer = Answer(response, peer)
                if not response.is_success:
                    said = await answer.beginning()
                    raise error_from_response(peer, response.status_code, response.headers, said)
                yield answer
        except (httpx.RequestError, httpx.InvalidURL) as exc:
            raise error_from_transport(peer, exc, began=began) from exc

    def open(self) -> httpx.AsyncClient:
        """Return the client, made now if need be; that takes tens of milliseconds and connects nothing.

        Raises `ModelError` as `open_http` does.
        """
        if self._http is None:
            self._http = open_http(self.endpoint, self._transport_factory)
        return self._http

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._http is not None:
            await self._http.aclose()

    async def _prepared(self, model: Model | None) -> tuple[httpx.AsyncClient, dict[str, str]]:
        try:
            headers = auth_headers(self.endpoint, await self._keys.key(self.endpoint))
            return self.open(), headers
        except ModelError as error:
            error.model = None if model is None else model.name
            raise


def _encoded(body: Mapping[str, Any], peer: Peer) -> bytes:
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, default=_as_dict)
    except (TypeError, ValueError, RecursionError) as exc:
        message = f"the request to {peer.url} cannot be written as JSON: {exc}"
        raise peer.error(BadRequestError, message, hint="look at params and extra_body of the model") from exc
    return text.encode("utf-8", errors="replace")  # half a surrogate pair in a file must not stop a run


def _as_dict(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")
