"""Asks the keeper for models, and starts it where there is none."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hyperguild.adapters.embedded.environment import child_environment
from hyperguild.adapters.embedded.host import Lease, Served
from hyperguild.adapters.embedded.keeper_wire import (
    BEGINS,
    MAX_LINE_BYTES,
    OTHER_KEEPS,
    Channel,
    EngineTerms,
    Fate,
    FateRequest,
    Granted,
    Hello,
    KeeperStatus,
    LeaseRequest,
    Message,
    Refused,
    State,
    StateRequest,
    Status,
    StatusRequest,
    Stopped,
    StopRequest,
    as_error,
)
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.records import WarmState
from hyperguild.domain.text import one_line
from hyperguild.errors import ConnectError, ModelError, ProtocolError
from hyperguild.programs.start import start_program

START_LIMIT_S = 15.0
"""A keeper is there after half a second; on a machine that is busy it takes several."""

STARTS = 3
"""A keeper ends where nobody comes for a second; when so many in a row are gone, something else fails."""

LOOK_AGAIN_S = 0.05
"""How long another keeper is given that is on its way, in or out."""

ANSWER_LIMIT_S = 5.0
"""A keeper answers within a millisecond, unless it is stopped or the machine is very busy."""

STOP_LIMIT_S = 30.0
"""A model that is loading takes two seconds to be unloaded, others a tenth of one."""

FATE_LIMIT_S = 3.0
"""The keeper waits a second for a server's end before it says that it lives."""


class KeeperHost:
    """A `ModelHost` for one endpoint, in the keeper's process; made without asking for it.

    A keeper that runs is used, whoever started it; `lease` starts one where there is none.
    """

    def __init__(self, folder: KeeperFolder, engine: EngineTerms, *, probe_timeout_s: float) -> None:
        self._folder = folder
        self._engine = engine
        self._probe_timeout_s = probe_timeout_s
        self._starting = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._line: Channel | None = None
        self._closed = False

    @asynccontextmanager
    async def lease(self, spec: ServerSpec) -> AsyncGenerator[Lease, None]:
        """See `ModelHost.lease`. Raises `ConnectError`, too, where no keeper can be had."""
        channel = await self._connected()
        try:
            await channel.send(LeaseRequest(self._engine, spec))
            match await channel.receive():
                case Granted(url, key):
                    yield Lease(Served(url, key), lambda: _fate(channel))
                case answer:
                    raise _not(answer)
        finally:
            channel.close()

    async def state(self, spec: ServerSpec) -> WarmState:
        """See `ModelHost.state`: `cold` where no keeper runs; none is started."""
        try:
            async with asyncio.timeout(self._probe_timeout_s), self._asking:
                return await self._state(spec)
        except (TimeoutError, ModelError):
            return "unknown"

    async def aclose(self) -> None:
        """Hang up; the models stay loaded. Safe to call twice."""
        self._closed = True  # a question under way closes the line that it has
        line, self._line = self._line, None
        if line is not None:
            line.close()

    async def _state(self, spec: ServerSpec) -> WarmState:
        """Ask over the line of the last time, which is there again only once its answer has come."""
        line, self._line = self._line, None
        line = line or await connect(self._folder)
        if line is None:
            return "cold"
        answer: Message | None = None
        try:
            await line.send(StateRequest(self._engine, spec))
            answer = await line.receive()
        finally:
            if isinstance(answer, State) and not self._closed:
                self._line = line
            else:
                line.close()
        if isinstance(answer, State):
            return answer.state
        return "cold" if answer is None else "unknown"  # a keeper that is gone has no models

    async def _connected(self) -> Channel:
        starts = 0
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while True:
                    async with self._starting:  # whatever waits in this process, one start is enough
                        channel = await connect(self._folder)
                        if channel is not None:
                            return channel
                        starts += await _start(self._folder)
                        channel = await connect(self._folder)
                        if channel is not None:
                            return channel
                    if starts == STARTS:
                        raise _no_keeper(f"it ends at once{_last_words(self._folder)}")
                    await asyncio.sleep(LOOK_AGAIN_S)
        except TimeoutError:
            raise _mute(self._folder) from None


async def connect(folder: KeeperFolder) -> Channel | None:
    """Connect to the keeper; None where none runs. Waits without a limit for it to say hello.

    Raises `ConnectError` where the folder may not be used, `ProtocolError` where what answers is no keeper.
    """
    if not folder.exists():
        return None
    try:
        streams = await asyncio.open_unix_connection(os.fspath(folder.socket), limit=MAX_LINE_BYTES)
    except (FileNotFoundError, ConnectionError):
        return None
    except OSError as exc:
        message = f"the keeper's socket, {folder.socket}, cannot be used: {exc.strerror or exc}"
        raise ConnectError(one_line(message, 400), retryable=False) from exc
    channel = Channel(*streams)
    hello: Message | None = None
    try:
        hello = await channel.receive()
    finally:
        if not isinstance(hello, Hello):
            channel.close()
    if hello is not None and not isinstance(hello, Hello):
        raise ProtocolError("what listens in the keeper's place is no keeper")
    return None if hello is None else channel


async def keeper_status(folder: KeeperFolder) -> KeeperStatus | None:
    """Return how the keeper is, None where none runs. Raises `ModelError` where it does not answer."""
    match await _ask(folder, StatusRequest(), ANSWER_LIMIT_S):
        case Status(status):
            return status
        case None:
            return None
        case answer:
            raise _not(answer)


async def stop_keeper(folder: KeeperFolder) -> KeeperStatus | None:
    """Stop the keeper and wait until it has ended; return how it was before, None where none ran.

    Requests that its models were answering break off. Raises `ModelError` where it does not answer.
    """
    match await _ask(folder, StopRequest(), STOP_LIMIT_S):
        case Stopped(status):
            await _ended(folder, status.pid)
            return status
        case None:
            return None
        case answer:
            raise _not(answer)


async def _ended(folder: KeeperFolder, pid: int) -> None:
    """Wait for the end of a keeper that has said goodbye."""
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            # Nothing tells of another process's end.
            while folder.is_kept() and folder.keeper_pid() in {pid, None}:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise _mute(folder) from None


async def _ask(folder: KeeperFolder, request: Message, limit_s: float) -> Message | None:
    """Return the answer; None where no keeper runs, or it ends just now."""
    try:
        async with asyncio.timeout(limit_s):
            channel = await connect(folder)
            if channel is None:
                return None
            try:
                await channel.send(request)
                return await channel.receive()
            finally:
                channel.close()
    except TimeoutError:
        raise _mute(folder) from None


async def _fate(channel: Channel) -> str | None:
    """Return how the leased server ended; None, too, where the keeper ended: then a new one can be had."""
    try:
        async with asyncio.timeout(FATE_LIMIT_S):
            await channel.send(FateRequest())
            answer = await channel.receive()
    except (TimeoutError, ProtocolError):
        return None
    return answer.fate if isinstance(answer, Fate) else None


async def _start(folder: KeeperFolder) -> bool:
    """Run the starter, which returns once a keeper listens. Cancelling kills it.

    Returns False where another keeper is there, or on its way out. Raises `ConnectError` (not retryable)
    where no keeper can be started.
    """
    folder.make()
    try:
        code, said = await _run_starter(folder)
    except OSError as exc:
        raise _no_keeper(exc.strerror or str(exc)) from exc
    if code not in {0, OTHER_KEEPS}:
        raise _no_keeper(_last_line(said) or "it said nothing")
    return code == 0


async def _run_starter(folder: KeeperFolder) -> tuple[int, bytes]:
    """Return the starter's exit code, and what it said until the keeper let go of its standard error.

    That is a socket of ours: a pipe of asyncio's would stay open where the keeper outlives our waiting.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # a session of its own: neither Ctrl-C nor the terminal's end is for the keeper
        starter = await start_program(
            sys.executable,
            "-P",  # what lies in the working directory must not be imported
            "-m",
            "hyperguild.adapters.embedded.keeper",
            os.fspath(folder.path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=theirs.fileno(),
            env=child_environment(os.environ),
        )
        try:
            theirs.close()
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                said = await reader.read()
            finally:
                writer.close()
            return await starter.wait(), said
        finally:
            if starter.returncode is None:
                starter.kill()
                await starter.wait()


def _not(answer: Message | None) -> ModelError:
    """Return what went wrong where another answer was hoped for."""
    if answer is None:
        return ConnectError("the keeper ended before it answered")
    if isinstance(answer, Refused):
        return as_error(answer)
    return ProtocolError("the keeper answered something else than it was asked")


def _no_keeper(why: str) -> ConnectError:
    message = one_line(f"no keeper could be started: {why}", 400)
    return ConnectError(message, hint="or set `keep: false` on the endpoint", retryable=False)


def _mute(folder: KeeperFolder) -> ConnectError:
    """Return the error of a keeper that lives and says nothing."""
    pid = folder.keeper_pid()
    process = "" if pid is None else f" (process {pid})"
    return ConnectError(
        one_line(f"the keeper{process} does not answer{_last_words(folder)}", 400),
        hint="set `keep: false` on the endpoint" if pid is None else f"kill -9 {pid}",
        retryable=False,
    )


def _last_words(folder: KeeperFolder) -> str:
    """Return what the newest keeper said last, as a clause to be added; empty where it said nothing."""
    try:
        log = folder.log.read_bytes()
    except OSError:
        log = b""
    said = _last_line(log.rpartition(f" {BEGINS}\n".encode())[2])
    return f"; its last words: {said}" if said else ""


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
