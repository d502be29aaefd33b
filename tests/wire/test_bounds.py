"""Answers of any size are cut off, with an error that says so, before they fill the memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from wire_support import (
    EVENT_STREAM,
    Pieces,
    answering,
    anthropic,
    ask,
    chunk,
    data,
    error_of,
    events,
    keys,
    model_on,
    openai,
    parts_of,
    raw_server,
    swap,
)

from hyperguild import attachments
from hyperguild.adapters.models import anthropic_stream, open_client
from hyperguild.adapters.probes.inventory import take_inventory
from hyperguild.adapters.tools.mcp_http import HttpTransport
from hyperguild.adapters.wire import exchange
from hyperguild.adapters.wire.transport import TransportFactory, aiohttp_transport, plain_transport
from hyperguild.attachments import read_attachment
from hyperguild.cli.task_input import read_stdin, read_task
from hyperguild.cli.tool_files import read_tool_results
from hyperguild.domain.chain import TimeLimits
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.messages import Completion, Finish, TextDelta
from hyperguild.errors import ModelError, OverloadedError, ProtocolError, UsageError
from hyperguild.inference import collect as collecting
from hyperguild.inference.collect import collect
from hyperguild.inference.limits import CallTimer
from hyperguild.inference.loading import Load
from hyperguild.inference.reasoning import ThinkSplitter

WHOLE = {"choices": [{"message": {"content": "x" * 20_000}, "finish_reason": "stop"}]}
BOTH = pytest.mark.parametrize("transport", [plain_transport, aiohttp_transport])


def streamed(*chunks: Any) -> TransportFactory:
    return answering(httpx.Response(200, headers=EVENT_STREAM, stream=Pieces([data(*chunks)])))


async def collected(transport: TransportFactory) -> Completion:
    """Ask a model and put its answer together, as a call does."""

    async def loaded_already(load: Load) -> None:
        del load

    request = ask(model_on(swap()))
    client = open_client(request.model.endpoint, keys=keys(), transport_factory=transport)
    now = asyncio.get_running_loop().time()
    try:
        return await collect(
            client.stream(request),
            CallTimer(TimeLimits(), started_at=now, total_ends_at=now + 600),
            lambda _: None,
            watch_load=loaded_already,
            split_reasoning=True,
        )
    finally:
        await client.aclose()


# -- responses


async def test_a_document_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DOCUMENT_MAX_BYTES", 10_000)

    error = await error_of(ask(model_on(swap())), answering(httpx.Response(200, json=WHOLE)))

    assert type(error) is ProtocolError
    assert not error.retryable
    assert error.message.endswith("sends a document of more than 10000 bytes")


async def test_a_list_of_models_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DOCUMENT_MAX_BYTES", 10_000)
    listing = {"data": [{"id": f"model-{number}"} for number in range(1000)]}

    with pytest.raises(ProtocolError, match="document of more than 10000 bytes"):
        await take_inventory(openai(), keys(), answering(httpx.Response(200, json=listing)))


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "x-unknown"])
async def test_what_could_grow_without_bounds_is_not_unpacked(encoding: str) -> None:
    body = gzip.compress(gzip.compress(json.dumps(WHOLE).encode()))
    headers = {"content-type": "application/json", "content-encoding": encoding}

    error = await error_of(
        ask(model_on(swap())), answering(httpx.Response(200, headers=headers, stream=Pieces([body])))
    )

    assert type(error) is ProtocolError
    assert f"compresses its answer ({encoding})" in error.message
    assert error.hint == "switch that off at the server or its proxy"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_what_a_gateway_compresses_once_is_read(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    body = pack(json.dumps(WHOLE).encode())

    parts = await parts_of(
        ask(model_on(swap())), answering(httpx.Response(200, headers=headers, stream=Pieces([body])))
    )

    assert parts[-1] == Finish("stop")


async def test_an_error_that_is_packed_otherwise_keeps_its_status() -> None:
    headers = {"content-encoding": "gzip, br"}

    error = await error_of(
        ask(model_on(swap())), answering(httpx.Response(529, headers=headers, stream=Pieces([b"?"])))
    )

    assert type(error) is OverloadedError
    assert error.status == 529


@BOTH
async def test_headers_without_end_are_cut_off(transport: TransportFactory) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Long: " + b"x" * 60_000 + b"\r\n")
            await writer.drain()

    async with raw_server(talk) as url, asyncio.timeout(30):
        error = await error_of(ask(model_on(swap(url))), transport)

    assert error.kind in {"connect", "protocol"}


# -- answers


def text(number: int) -> dict[str, Any]:
    return chunk({"content": f"{number:07} "})


def thought(number: int) -> dict[str, Any]:
    return chunk({"reasoning_content": f"{number:07} "})


def argument(number: int) -> dict[str, Any]:
    call = {"index": 0, "id": "a", "function": {"name": "fs_read", "arguments": f"{number:07} "}}
    return chunk({"tool_calls": [call]})


@pytest.mark.parametrize("piece", [text, thought, argument])
async def test_an_answer_without_end_is_cut_off(
    piece: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "ANSWER_MAX_CHARS", 1000)

    with pytest.raises(ProtocolError, match="longer than 1000 characters") as caught:
        await collected(streamed(*map(piece, range(200))))

    assert not caught.value.retryable
    assert caught.value.hint is not None


async def test_calls_without_end_are_cut_off() -> None:
    calls = [
        chunk({"tool_calls": [{"index": number, "id": str(number), "function": {"name": "x"}}]})
        for number in range(300)
    ]

    with pytest.raises(ProtocolError, match="more than 256 tool calls"):
        await collected(streamed(*calls))


async def test_of_sources_without_end_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "SOURCES_MAX", 3)

    def cited(numbers: Iterable[int]) -> dict[str, Any]:
        pages = [{"url_citation": {"url": f"http://a/{number}"}} for number in numbers]
        return chunk({"content": "x", "annotations": pages})

    answer = await collected(
        streamed(cited([1, 2]), cited([3, 4, 5]), cited([6]), chunk({}, "stop"), "[DONE]")
    )

    assert [source.url for source in answer.sources] == ["http://a/1", "http://a/2", "http://a/3"]


async def test_blank_space_at_the_head_is_not_copied_with_every_piece() -> None:
    splitter = ThinkSplitter()
    parts = [part for _ in range(5000) for part in splitter.feed(" \n")]
    assert (parts, splitter._pending) == ([], "")

    parts = [*splitter.feed("<thi"), *splitter.feed("s> it is"), *splitter.flush()]
    assert parts == [TextDelta(" \n" * 5000 + "<this> it is")]
    assert ThinkSplitter().feed("  ") == []


def block(number: int) -> tuple[str, dict[str, Any]]:
    return "content_block_start", {"index": number, "content_block": {"type": "text", "text": ""}}


def citation(number: int) -> tuple[str, dict[str, Any]]:
    cited = {"type": "citations_delta", "citation": {"url": f"http://a/{number}"}}
    return "content_block_delta", {"index": 0, "delta": cited}


@pytest.mark.parametrize(
    ("event", "number", "says"),
    [(block, 2000, "more than 1024 content blocks"), (citation, 100, "more than 5000 characters")],
)
async def test_content_of_anthropic_without_end_is_cut_off(
    event: Callable[[int], tuple[str, dict[str, Any]]],
    number: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if event is citation:
        monkeypatch.setattr(anthropic_stream, "KEPT_MAX_CHARS", 5000)
    body = events(*map(event, range(number)))
    transport = answering(httpx.Response(200, headers=EVENT_STREAM, stream=Pieces([body])))

    error: ModelError = await error_of(ask(model_on(anthropic())), transport)

    assert type(error) is ProtocolError
    assert says in error.message


async def test_an_answer_of_an_mcp_server_is_not_unpacked() -> None:
    transport = HttpTransport(McpServer("far", url="http://127.0.0.1:1/mcp"))
    request = httpx2.Request("POST", "http://127.0.0.1:1/mcp")
    packed = httpx2.Response(200, headers={"content-encoding": "gzip"}, request=request)

    with pytest.raises(httpx2.DecodingError) as caught:
        await transport._look(packed)

    assert "compressed (gzip)" in str(transport.reason(caught.value))


# -- files


class Endless(io.RawIOBase):
    """A stream of bytes that never ends, and tells how much of it was asked for."""

    asked = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it was asked for"
        self.asked += size
        return b"x" * size


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Endless:
    monkeypatch.setattr(attachments, "MAX_FILE_BYTES", 2**20)
    stream = Endless()
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": stream}))
    return stream


def test_a_task_without_end_is_refused(endless: Endless) -> None:
    with pytest.raises(UsageError, match="standard input is larger than 1 MiB"):
        read_task(None, (), stdin_is_terminal=False, read_stdin=read_stdin)
    assert endless.asked < 2**26


def test_tool_results_without_end_are_refused(endless: Endless) -> None:
    with pytest.raises(UsageError, match="standard input is larger than 20 MiB"):
        read_tool_results("-", read_stdin)


def test_a_file_without_size_or_end_is_refused(endless: Endless) -> None:
    assert Path("/dev/zero").stat().st_size == 0
    with pytest.raises(UsageError, match="/dev/zero is larger than 1 MiB"):
        read_attachment("/dev/zero")
