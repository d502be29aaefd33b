"""Serves the fleet over TCP until a signal, or its parent's death, ends it."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
from collections.abc import Callable, Generator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hyperguild.simulation.app import FleetApp
from hyperguild.simulation.exchange import TRANSPORT_KEY
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.script import Script

PARENT_CHECK_S = 0.2
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A bound and listening socket, so that the port is known before the server runs. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; it costs 40 ms a request
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def serve(script: Script, listener: socket.socket, host: str, *, exit_with_parent: bool) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone; announces itself on stdout in one JSON
    line.
    """
    shown = f"[{host}]" if ":" in host else host
    line = json.dumps({"url": f"http://{shown}:{listener.getsockname()[1]}", "pid": os.getpid()})
    config = uvicorn.Config(
        FleetApp(Fleet(script)),
        http=_protocol(),
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=0,
        timeout_keep_alive=60,
        backlog=BACKLOG,
    )
    server = _Server(config, announce=lambda: print(line, flush=True))  # noqa: T201 the line is the interface
    parent = os.getppid() if exit_with_parent else None
    server.run_until_signal(listener, parent)


class _Server(uvicorn.Server):
    """uvicorn, ending with exit code 0 on a signal, and telling when it accepts connections."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._watch: asyncio.Task[None] | None = None
        self._parent: int | None = None

    def run_until_signal(self, listener: socket.socket, parent: int | None) -> None:
        self._parent = parent
        self.run(sockets=[listener])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._leave)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._parent is not None:
            self._watch = asyncio.ensure_future(self._follow(self._parent))
        self._announce()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True

    async def _follow(self, parent: int) -> None:
        while os.getppid() == parent:  # noqa: ASYNC110 nobody sets an event when a parent dies
            await asyncio.sleep(PARENT_CHECK_S)
        self.should_exit = True


def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's faster HTTP parser if it is installed, with the connection put into the scope."""
    base: type[H11Protocol] = H11Protocol
    if importlib.util.find_spec("httptools") is not None:
        base = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol

    class WithTransport(base):  # type: ignore[valid-type,misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.app: ASGIApp = _hand_over(self.app, transport)

    return WithTransport


def _hand_over(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT_KEY] = transport
        await app(scope, receive, send)

    return with_transport
