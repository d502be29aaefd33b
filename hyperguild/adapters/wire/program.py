"""Runs a program in a process group of its own, so that it can be ended whole."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hyperguild.programs.start import close_pipes, start_program

KILL_GRACE_S = 2.0
"""How long a program may tidy up after SIGTERM before SIGKILL."""

STDERR_KEPT_BYTES = 8192
"""Of what a program says on stderr this much is kept, its end."""

_POLL_S = 0.02
_CHUNK_BYTES = 65536


class ProgramStartError(Exception):
    """A program cannot be started; the message says why, in one line."""


class Program:
    """A running program: an async context manager that leaves nothing of it behind.

    `argv` is executed as it is, without a shell, in a new session: its whole process group gets SIGTERM, and
    after `KILL_GRACE_S` SIGKILL, when the context is left before `exit_code` has returned (cancellation
    included). `stdin` is written while the output is read. Entering raises `ProgramStartError`.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes = b"") -> None:
        self._argv = tuple(argv)
        self._env = dict(env)
        self._stdin = stdin
        self._stderr = bytearray()
        self._ended = False

    async def __aenter__(self) -> Self:
        try:
            self._process = await start_program(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
            )
        except FileNotFoundError as exc:
            raise ProgramStartError(f"the program '{self._argv[0]}' is not there") from exc
        except PermissionError as exc:
            raise ProgramStartError(f"the program '{self._argv[0]}' may not be run") from exc
        except (OSError, ValueError) as exc:  # ValueError: an argument holds a NUL
            reason = getattr(exc, "strerror", None) or exc
            raise ProgramStartError(f"the program '{self._argv[0]}' cannot be started: {reason}") from exc
        self._feeding = asyncio.create_task(self._feed())
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._ended:
                await self._end_group()
        finally:
            await self._let_go()

    async def output(self) -> AsyncIterator[bytes]:
        """Yield stdout as it comes, until the program closes it."""
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe above
        while chunk := await self._process.stdout.read(_CHUNK_BYTES):
            yield chunk

    async def exit_code(self) -> int:
        """Wait for the end and return the exit code; minus the number of the signal that ended it."""
        code = await self._process.wait()
        self._ended = True
        await asyncio.wait((self._listening,), timeout=KILL_GRACE_S)
        return code

    @property
    def complaint(self) -> str:
        """The end of what it said on stderr; what is not UTF-8 is replaced."""
        return self._stderr.decode("utf-8", errors="replace").strip()

    async def _feed(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        try:
            self._process.stdin.write(self._stdin)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # it does not want to read; its exit code says whether that is a fault
        finally:
            self._process.stdin.close()

    async def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe above
        while chunk := await self._process.stderr.read(_CHUNK_BYTES):
            self._stderr += chunk
            del self._stderr[:-STDERR_KEPT_BYTES]

    async def _end_group(self) -> None:
        try:
            self._signal(signal.SIGTERM)
            async with asyncio.timeout(KILL_GRACE_S):
                while self._any_left():  # noqa: ASYNC110 - nothing tells when the last of a group is gone
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            pass  # the SIGKILL below is the answer to that
        finally:
            self._signal(signal.SIGKILL)
            while self._process.returncode is None:  # noqa: ASYNC110 - wait() also waits for strays' pipes
                await asyncio.sleep(_POLL_S)

    async def _let_go(self) -> None:
        """Read the pipes to their ends, so that asyncio closes them; not for ever: a stray may hold one."""
        try:
            async with asyncio.timeout(KILL_GRACE_S):
                async for _ in self.output():
                    pass
                await asyncio.wait((self._feeding, self._listening))
        except TimeoutError:
            for task in (self._feeding, self._listening):
                task.cancel()
            await asyncio.wait((self._feeding, self._listening))
            close_pipes(self._process)

    def _any_left(self) -> bool:
        if not self._signal(0):
            return False
        return self._process.returncode is None or not only_zombies(self._process.pid)

    def _signal(self, number: int) -> bool:
        """Signal the group; return whether any of it is left, be it a zombie."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def only_zombies(group: int) -> bool:
    """Return whether all that is left of a process group is dead and waits to be collected.

    A PID 1 that never collects the orphans it is given (many a container has one) keeps such a group alive in
    the eyes of `killpg`. False where that cannot be known: outside Linux, or where `/proc` shows none of it.
    """
    states = {_state(pid) for pid in _members(group)} - {""}
    return bool(states) and states <= {"Z", "X"}


def _members(group: int) -> list[int]:
    try:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return []
    return [pid for pid in pids if _group_of(pid) == group]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)  # far cheaper than reading it in /proc
    except OSError:
        return None  # it ended meanwhile, or is not ours to ask


def _state(pid: int) -> str:
    """Return the letter for a process's state; "" for one that has ended meanwhile."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]  # pid (name) state ...; the name may hold anything
