"""What the network does to a request: refusals, breaks, disconnects, certificates, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
import respx
from wire_support import (
    ask,
    chunk,
    data,
    error_of,
    keys,
    model_on,
    mounted,
    openai,
    parts_of,
    raw_server,
    swap,
)

from hyperguild.adapters.models import open_client
from hyperguild.adapters.wire import exchange
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.transport import (
    TransportFactory,
    aiohttp_transport,
    is_loopback,
    open_http,
    plain_transport,
)
from hyperguild.domain.messages import Finish, Sent, TextDelta
from hyperguild.errors import BadRequestError, ConnectError, ModelError, OverloadedError, ProtocolError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = data(chunk({"content": "hello"}))

BOTH = pytest.mark.parametrize("transport", [plain_transport, aiohttp_transport])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@BOTH
async def test_nothing_listens(transport: TransportFactory, closed_port: int) -> None:
    error = await error_of(ask(model_on(swap(f"http://127.0.0.1:{closed_port}"))), transport)

    assert type(error) is ConnectError
    assert error.retryable
    assert error.message == f"nothing listens at http://127.0.0.1:{closed_port}"
    assert error.hint == "start llama-swap, or correct base_url of endpoint 'swap'"


@BOTH
async def test_a_host_without_an_address(
    transport: TransportFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    error = await error_of(ask(model_on(swap("http://no-such-host.invalid:1"))), transport)

    assert type(error) is ConnectError
    assert "no address is known for the host 'no-such-host.invalid'" in error.message


@BOTH
async def test_a_connection_that_is_never_accepted(transport: TransportFactory) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}"

            error = await error_of(ask(model_on(swap(url, connect_timeout_s=0.2))), transport)

    assert type(error) is ConnectError
    assert f"could not connect to {url} within 0.2 s" in error.message


@BOTH
async def test_a_server_that_hangs_up_before_it_answers(transport: TransportFactory) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with raw_server(talk) as url:
        error = await error_of(ask(model_on(swap(url))), transport)

    assert type(error) is ConnectError
    assert error.retryable
    assert "broke before an answer began" in error.message


@BOTH
async def test_a_server_that_speaks_no_http(transport: TransportFactory) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()

    async with raw_server(talk) as url:
        error = await error_of(ask(model_on(swap(url))), transport)

    assert type(error) is ConnectError


@BOTH
@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_breaks_in_mid_answer(transport: TransportFactory, reset: bool) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunked(HELLO))
        await writer.drain()
        if reset:
            writer.transport.abort()

    async with raw_server(talk) as url:
        error = await error_of(ask(model_on(swap(url))), transport)

    assert type(error) is ProtocolError
    assert error.retryable
    assert "broke in the middle of the answer" in error.message


@BOTH
async def test_closing_a_stream_drops_the_connection(transport: TransportFactory) -> None:
    dropped = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunked(HELLO))
        await writer.drain()
        while await reader.read(1000):
            pass
        dropped.set()

    async with raw_server(talk) as url:
        model = model_on(swap(url))
        client = open_client(model.endpoint, keys=keys(), transport_factory=transport)
        async with aclosing(client.stream(ask(model))) as parts:
            assert await anext(parts) == Sent()
            assert await anext(parts) == TextDelta("hello")
        async with asyncio.timeout(10):
            await dropped.wait()
        await client.aclose()


@BOTH
async def test_cancelling_while_a_model_loads_drops_the_connection(transport: TransportFactory) -> None:
    asked, dropped = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        while await reader.read(1000):
            pass
        dropped.set()

    async with raw_server(talk) as url:
        task = asyncio.create_task(parts_of(ask(model_on(swap(url))), transport))
        async with asyncio.timeout(10):
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await dropped.wait()


@BOTH
async def test_a_finished_answer_leaves_its_connection_for_the_next(transport: TransportFactory) -> None:
    answer = data(chunk({"content": "x"}), chunk({}, "stop"), "[DONE]")
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            writer.write(HEAD + chunked(answer) + b"0\r\n\r\n")
            await writer.drain()
            await reader.readuntil(b'"stream":')
            await reader.readuntil(b"\r\n\r\n")

    async with raw_server(talk) as url:
        model = model_on(swap(url))
        client = open_client(model.endpoint, keys=keys(), transport_factory=transport)
        for _ in range(3):
            async with asyncio.timeout(10):
                assert [part async for part in client.stream(ask(model))][-1] == Finish("stop")
        await client.aclose()
        await client.aclose()

    assert connections == 1


async def test_a_server_that_stays_after_done_does_not_hold_the_answer_up() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunked(data(chunk({"content": "x"}), chunk({}, "stop"), "[DONE]")))
        while await reader.read(1000):
            pass

    async with raw_server(talk) as url, asyncio.timeout(10):
        assert (await parts_of(ask(model_on(swap(url))), plain_transport))[-1] == Finish("stop")


async def test_no_more_streams_at_once_than_max_concurrency() -> None:
    open_now = most = 0
    release = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 2:
            release.set()
        await release.wait()
        open_now -= 1
        writer.write(
            HEAD + chunked(data(chunk({"content": "x"}), chunk({}, "stop"), "[DONE]")) + b"0\r\n\r\n"
        )
        await writer.drain()

    async with raw_server(talk) as url, asyncio.timeout(20):
        model = model_on(swap(url, max_concurrency=2))
        client = open_client(model.endpoint, keys=keys())

        async def one() -> None:
            assert [part async for part in client.stream(ask(model))][-1] == Finish("stop")

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(one())
        await client.aclose()

    assert most == 2


async def test_what_only_asks_for_a_list_waits_for_no_turn() -> None:
    router = respx.MockRouter()
    router.get("http://127.0.0.1:8080/running").respond(json={"running": []})
    model = model_on(swap(max_concurrency=1))
    exchanger = Exchanger(model.endpoint, keys(), mounted(router))

    async with (
        asyncio.timeout(10),
        exchanger.turn(model),
        exchanger.send("GET", "http://127.0.0.1:8080/running") as answer,
    ):
        assert await answer.whole() == b'{"running":[]}'
    await exchanger.aclose()


@BOTH
async def test_tls_where_none_is_spoken(transport: TransportFactory) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await error_of(ask(model_on(swap(url))), transport)

    assert type(error) is ConnectError
    assert f"no TLS connection to {url}" in error.message


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    error = await error_of(ask(model_on(swap("https://127.0.0.1:1", ca_file=path))), plain_transport)

    assert type(error) is ConnectError
    assert not error.retryable
    assert str(path) in error.message


async def test_an_untrusted_certificate_is_named() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"

    def handshake(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("tls") from cause

    error = await error_of(ask(model_on(openai())), lambda _: httpx.MockTransport(handshake))

    assert not error.retryable
    assert "is not trusted: self-signed certificate" in error.message
    assert error.hint is not None
    assert "ca_file" in error.hint


async def test_a_header_that_http_cannot_carry() -> None:
    for value in ("日本", "a\r\nb"):
        error = await error_of(ask(model_on(swap(headers={"X-Name": value}))), plain_transport)
        assert type(error) is BadRequestError


async def test_loopback_is_never_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            HEAD + chunked(data(chunk({"content": "x"}), chunk({}, "stop"), "[DONE]")) + b"0\r\n\r\n"
        )
        await writer.drain()

    async with raw_server(talk) as url:
        for transport in (plain_transport, aiohttp_transport):
            assert (await parts_of(ask(model_on(swap(url))), transport))[-1] == Finish("stop")


async def test_other_hosts_are_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(b"seen")

    async with raw_server(talk) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        for transport in (plain_transport, aiohttp_transport):
            error = await error_of(ask(model_on(swap("http://model-host.example"))), transport)
            assert type(error) is ConnectError

    assert len(asked) >= 2


@pytest.mark.parametrize(
    ("transport", "proxy"),
    [
        (plain_transport, "nonsense://127.0.0.1:1"),
        (aiohttp_transport, "nonsense://127.0.0.1:1"),
        (aiohttp_transport, "socks5://127.0.0.1:1"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_an_error_of_that_endpoint(
    monkeypatch: pytest.MonkeyPatch, transport: TransportFactory, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    error = await error_of(ask(model_on(swap("http://model-host.example"))), transport)

    assert type(error) is ConnectError
    assert not error.retryable
    assert "proxy" in error.message


async def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperguild.adapters.wire.aiohttp_transport", None)

    error = await error_of(ask(model_on(swap())), aiohttp_transport)

    assert error.hint == "pip install 'hyperguild[fast]'"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:8080", True),
        ("http://127.3.2.1", True),
        ("http://[::1]:1/v1", True),
        ("http://a.localhost", True),
        ("http://192.168.1.5", False),
        ("http://localhost.example", False),
        ("", False),
    ],
)
def test_loopback_addresses(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


async def test_reading_has_no_time_limit_and_connecting_has() -> None:
    http = open_http(swap(connect_timeout_s=3.0), plain_transport)

    assert http.timeout == httpx.Timeout(None, connect=3.0)
    assert not http.follow_redirects
    await http.aclose()


@BOTH
async def test_an_error_whose_body_breaks_off_keeps_its_status(transport: TransportFactory) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 529 Overloaded\r\nContent-Length: 500\r\n\r\ntry later")
        await writer.drain()

    async with raw_server(talk) as url:
        error = await error_of(ask(model_on(swap(url))), transport)

    assert type(error) is OverloadedError
    assert error.status == 529


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "RESPONSE_MAX_BYTES", 100_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(chunked(HELLO))
            await writer.drain()

    async with raw_server(talk) as url:
        error = await error_of(ask(model_on(swap(url))), plain_transport)

    assert type(error) is ProtocolError
    assert "more than 100000 bytes" in error.message


@pytest.mark.parametrize(
    ("raised", "cls", "message"),
    [
        (httpx.ProxyError("407 Proxy Authentication Required"), ConnectError, "refuses: 407 Proxy"),
        (httpx.UnsupportedProtocol("no scheme"), BadRequestError, "cannot be sent: no scheme"),
        (httpx.DecodingError("bad gzip"), ProtocolError, "its encoding does not fit: bad gzip"),
        (httpx.ReadError(""), ConnectError, "broke before an answer began"),
    ],
)
async def test_other_failures_of_the_client(
    raised: httpx.RequestError, cls: type[ModelError], message: str
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    error = await error_of(ask(model_on(openai())), lambda _: httpx.MockTransport(fail))

    assert type(error) is cls
    assert message in error.message


async def test_the_failure_of_each_address_is_looked_at() -> None:
    refused = ExceptionGroup("multiple connection attempts failed", [OSError("x"), ConnectionRefusedError()])

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection attempts failed") from refused

    error = await error_of(ask(model_on(openai())), lambda _: httpx.MockTransport(fail))

    assert error.message == "nothing listens at https://api.openai.com/v1"
    assert error.hint == "start the server, or correct base_url of endpoint 'openai'"


@BOTH
async def test_credentials_of_the_environment_stay_there_and_those_of_the_url_are_used(
    transport: TransportFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password from-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await error_of(ask(model_on(swap(f"http://{host}"))), transport)
        error = await error_of(ask(model_on(swap(f"http://user:pass-word@{host}"))), transport)

    assert "authorization" not in heads[0]
    assert "authorization: basic dxnlcjpwyxnzlxdvcmq=" in heads[1]
    assert "pass-word" not in error.message + (error.hint or "")
