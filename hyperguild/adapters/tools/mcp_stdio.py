"""MCP servers that are programs: started without a shell, spoken to in lines, ended with all they started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from hyperguild.adapters.tools.mcp_lines import LineCutter, TooLong, message_from, refusal_of
from hyperguild.adapters.tools.mcp_values import McpFault
from hyperguild.adapters.wire.program import only_zombies
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.text import clipped_tail, one_line
from hyperguild.programs.start import start_program

STDIN_GRACE_S = 2.0
"""How long a server may take to end by itself once its stdin is closed, as the protocol asks it to."""

KILL_GRACE_S = 2.0
"""How long its process group may tidy up after SIGTERM before SIGKILL."""

_POLL_S = 0.02
_DRAIN_S = 1.0
_CHUNK_BYTES = 65536
_STDERR_KEPT_BYTES = 8192
_SAID_MAX_CHARS = 300

Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception],
    MemoryObjectSendStream[SessionMessage],
]


class StdioTransport:
    """One run of a server's program. `on_closed` is called when it closes its stdout, which ends the session.

    The package's own transport would do, but for what it leaves open: a line of any length fills the memory,
    and what the program said when it failed is lost.
    """

    def __init__(
        self, server: McpServer, environment: Mapping[str, str], on_closed: Callable[[], None]
    ) -> None:
        self._server = server
        self._environment = {**environment, **server.env}
        self._on_closed = on_closed
        self._process: asyncio.subprocess.Process | None = None
        self._fault: str | None = None
        self._stderr = bytearray()
        self._heard = anyio.Event()
        self._chatter = b""

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Streams, None]:
        """Start the program; when the block is left, cancelled or not, end it and its whole process group.

        Raises `McpFault` where it cannot be started.
        """
        process = self._process = await self._start()
        # no await from here to the group: a cancellation between them would leave the program alone
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, process, from_session, to_session)
            tasks.start_soon(self._listen, process)
            tasks.start_soon(self._read, process, to_session)
            try:
                yield incoming, outgoing
            finally:
                with anyio.CancelScope(shield=True):
                    incoming.close()
                    outgoing.close()
                    await _end(process)
                    with anyio.move_on_after(_DRAIN_S):  # a stray that left the group may hold the pipes
                        await process.wait()
                        await self._heard.wait()
                tasks.cancel_scope.cancel()

    def epitaph(self) -> str | None:
        """Return how the program ended and what it said last; None while it runs."""
        if self._fault is not None:
            return self._fault
        code = None if self._process is None else self._process.returncode
        if code is None:
            return None
        how = f"it ended with exit code {code}" if code >= 0 else f"it was ended by {_signal_name(-code)}"
        return f"{how}{self.said()}"

    def said(self) -> str:
        """Return `: ` and the end of what it said on stderr, else its last line that was no message."""
        said = bytes(self._stderr).strip() or self._chatter
        text = one_line(said.decode("utf-8", "replace"), _STDERR_KEPT_BYTES)
        return f": {clipped_tail(text, _SAID_MAX_CHARS)}" if text else ""

    async def _start(self) -> asyncio.subprocess.Process:
        argv = self._server.argv
        try:
            return await start_program(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd=self._server.cwd,
            )
        except FileNotFoundError as exc:
            if self._server.cwd is not None and not self._server.cwd.is_dir():
                raise McpFault(f"the folder {self._server.cwd} is not there") from exc
            raise McpFault(f"the program '{argv[0]}' is not there") from exc
        except PermissionError as exc:
            raise McpFault(f"the program '{argv[0]}' may not be run") from exc
        except (OSError, ValueError) as exc:  # ValueError: an argument holds a NUL
            reason = getattr(exc, "strerror", None) or exc
            raise McpFault(f"the program '{argv[0]}' cannot be started: {reason}") from exc

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        assert process.stdout is not None  # noqa: S101 - opened as a pipe above
        lines = LineCutter()
        try:
            async with to_session:
                while chunk := await process.stdout.read(_CHUNK_BYTES):
                    for line in lines.take(chunk):
                        await self._pass_on(line, to_session)
                    if self._fault is not None:
                        break
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the session is gone; the rest is read so that the program can write it, and end
        self._on_closed()
        while await process.stdout.read(_CHUNK_BYTES):
            pass

    async def _pass_on(
        self, line: bytes | TooLong, to_session: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        message = refusal_of(line) if isinstance(line, TooLong) else message_from(line)
        if message is not None:
            await to_session.send(SessionMessage(message))
        elif isinstance(line, TooLong):
            self._fault = f"it sent a message of {line.size_bytes} bytes"
        else:
            self._chatter = line[:_STDERR_KEPT_BYTES]

    async def _write(
        self,
        process: asyncio.subprocess.Process,
        from_session: MemoryObjectReceiveStream[SessionMessage],
        to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        assert process.stdin is not None  # noqa: S101 - opened as a pipe above
        try:
            async with from_session:
                async for sent in from_session:
                    text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            await to_session.aclose()  # it reads no more: nobody shall wait for an answer

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - opened as a pipe above
        while chunk := await process.stderr.read(_CHUNK_BYTES):
            self._stderr += chunk
            del self._stderr[:-_STDERR_KEPT_BYTES]
        self._heard.set()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program: close its stdin, then SIGTERM, then kill its group; the last at once if cancelled."""
    assert process.stdin is not None  # noqa: S101 - opened as a pipe above
    try:
        process.stdin.close()
        if not await _gone(process, STDIN_GRACE_S):
            _signal(process, signal.SIGTERM)
            await _gone(process, KILL_GRACE_S)
    finally:
        _signal(process, signal.SIGKILL)


async def _gone(process: asyncio.subprocess.Process, limit_s: float) -> bool:
    """Wait until nothing of the program's group runs any more; return whether that came about in time."""
    with anyio.move_on_after(limit_s):
        while process.returncode is None or _any_left(process):  # noqa: ASYNC110 - nothing tells of the last one
            await anyio.sleep(_POLL_S)
        return True
    return False


def _any_left(process: asyncio.subprocess.Process) -> bool:
    return _signal(process, 0) and not only_zombies(process.pid)


def _signal(process: asyncio.subprocess.Process, number: int) -> bool:
    """Signal the group; return whether any of it is left, be it a zombie."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
