"""Messages of keeper and clients, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hyperguild.adapters.embedded.keeper_wire import (
    MAX_LINE_BYTES,
    Channel,
    EngineTerms,
    Fate,
    FateRequest,
    HeldModel,
    KeeperStatus,
    LeaseRequest,
    Message,
    Refused,
    StateRequest,
    Status,
    StopRequest,
    as_error,
    refused,
    terms_of,
)
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import Endpoint, EngineSettings
from hyperguild.errors import ModelError, NotFoundError, ProtocolError

TERMS = EngineTerms("here", max_loaded=1, ttl_s=0.5, max_users=8)
SPEC = ServerSpec(Path("/m/ä b\u2028.gguf"), 4096, 2, None)
HELD = HeldModel("here", SPEC.gguf, 4096, 2, "ready", 1, 0.0, 300.0)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Channel, socket.socket]]:
    """Yield a channel, and the bare socket at the other end."""
    near, far = socket.socketpair()
    channel = Channel(*await asyncio.open_unix_connection(sock=near, limit=MAX_LINE_BYTES))
    try:
        yield channel, far
    finally:
        channel.close()
        far.close()


@pytest.mark.parametrize(
    "message",
    [
        LeaseRequest(TERMS, SPEC),
        StateRequest(TERMS, ServerSpec(Path("/x.gguf"), 1, 1, 3)),
        FateRequest(),
        StopRequest(),
        Fate("crashed"),
        Fate(None),
        Refused("server", "m", "h", retryable=True),
        Status(KeeperStatus(1, "0.1.0", datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC), (HELD, HELD))),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_what_is_sent_arrives(message: Message) -> None:
    near, far = socket.socketpair()
    one = Channel(*await asyncio.open_unix_connection(sock=near))
    other = Channel(*await asyncio.open_unix_connection(sock=far))
    await one.send(message)
    assert await other.receive() == message
    one.close()
    assert await other.receive() is None
    other.close()
    await other.send(message)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"type": "hallo"}',
        b'{"type": "fate?", "more": 1}',
        b'{"type": "lease"}',
        b'{"type": "refused", "kind": "kind", "message": ""}',
        (
            b'{"type": "state?", "engine": {"endpoint": "e", "max_loaded": 0, "ttl_s": 1, "max_users": 1}, '
            b'"spec": {"gguf": "/m", "context_tokens": 1, "slots": 1, "threads": null}}'
        ),
        b"x" * (MAX_LINE_BYTES + 1),
    ],
)
async def test_what_is_no_message_is_refused(line: bytes) -> None:
    async with pair() as (channel, far):
        await asyncio.to_thread(far.sendall, line + b"\n")
        with pytest.raises(ProtocolError):
            await channel.receive()


async def test_a_line_that_is_cut_off_is_the_end() -> None:
    async with pair() as (channel, far):
        far.sendall(b'{"type": "stop"}')
        far.close()
        assert await channel.receive() is None


@pytest.mark.parametrize("kind", ModelError.__subclasses__(), ids=lambda kind: kind.kind)
@pytest.mark.parametrize("retryable", [True, False])
def test_errors_survive_the_way(kind: type[ModelError], retryable: bool) -> None:
    there = as_error(refused(kind("what", hint="why", retryable=retryable)))
    assert type(there) is kind
    assert (there.message, there.hint, there.retryable) == ("what", "why", retryable)


def test_an_error_travels_without_names() -> None:
    there = as_error(refused(NotFoundError("what", model="m", endpoint="e")))
    assert (there.model, there.endpoint, there.hint) == (None, None, None)


def test_an_endpoint_names_its_engine_and_the_settings() -> None:
    endpoint = Endpoint("here", "embedded", engine=EngineSettings(2, 60.0, keep=True), max_concurrency=3)
    assert terms_of(endpoint) == EngineTerms("here", max_loaded=2, ttl_s=60.0, max_users=3)
