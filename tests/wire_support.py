"""What tests at the wire share: endpoints, requests, mounted routers, a server of raw bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import respx

from hyperguild.adapters.models import open_client
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory
from hyperguild.domain.chain import Endpoint, KeySource, Model
from hyperguild.domain.messages import Message, ModelRequest, StreamPart
from hyperguild.errors import ModelError

SWAP_URL = "http://127.0.0.1:8080"
KEY = "sk-test-0123456789"

EVENT_STREAM = {"content-type": "text/event-stream"}


def swap(url: str = SWAP_URL, **fields: Any) -> Endpoint:
    return Endpoint("swap", "llama-swap", url, **fields)


def openai(url: str = "https://api.openai.com/v1", **fields: Any) -> Endpoint:
    return Endpoint("openai", "openai", url, **{"key": KeySource(env="OPENAI_API_KEY"), **fields})


def anthropic(url: str = "https://api.anthropic.com", **fields: Any) -> Endpoint:
    return Endpoint("anthropic", "anthropic", url, **{"key": KeySource(env="ANTHROPIC_API_KEY"), **fields})


def model_on(endpoint: Endpoint, upstream: str = "phi-4-q4", **fields: Any) -> Model:
    label = "local" if endpoint.kind == "llama-swap" else "managed"
    return Model(**{"name": "phi4", "endpoint": endpoint, "upstream": upstream, "label": label, **fields})


def ask(model: Model, text: str = "Hello", **fields: Any) -> ModelRequest:
    return ModelRequest(**{"model": model, "messages": (Message("user", text),), **fields})


def keys(**env: str) -> KeyRing:
    return KeyRing({"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, **env})


def mounted(router: respx.MockRouter) -> TransportFactory:
    return lambda _: httpx.MockTransport(router.async_handler)


def answering(response: httpx.Response) -> TransportFactory:
    """Answer every request with this response."""
    return lambda _: httpx.MockTransport(lambda _: response)


async def parts_of(
    request: ModelRequest, transport_factory: TransportFactory, ring: KeyRing | None = None
) -> list[StreamPart]:
    client = open_client(request.model.endpoint, keys=ring or keys(), transport_factory=transport_factory)
    try:
        return [part async for part in client.stream(request)]
    finally:
        await client.aclose()


async def error_of(
    request: ModelRequest, transport_factory: TransportFactory, ring: KeyRing | None = None
) -> ModelError:
    """Return the error that the stream ends in; it names model and endpoint, and stays in one line."""
    with pytest.raises(ModelError) as caught:
        await parts_of(request, transport_factory, ring)
    error = caught.value
    assert error.model == request.model.name
    assert error.endpoint == request.model.endpoint.name
    assert len(error.message) <= 500
    assert error.message.isprintable()
    assert KEY not in error.message
    return error


def data(*chunks: Mapping[str, Any] | str) -> bytes:
    """Write the events of a chat stream."""
    texts = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
    return b"".join(f"data: {text}\n\n".encode() for text in texts)


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "upstream/name",
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}],
    }


def events(*named: tuple[str, Mapping[str, Any]]) -> bytes:
    """Write the events of a Messages stream; `type` is filled in."""
    return b"".join(
        f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode() for name, fields in named
    )


class Pieces(httpx.AsyncByteStream):
    """A body that comes in the pieces given."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[str]:
    """Serve raw bytes on a loopback port; give its URL. `talk` begins once a request's head has come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
