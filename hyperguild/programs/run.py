"""Runs a program in bounded time and memory, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hyperguild.programs.start import start_program

READ_BYTES = 65_536
"""The capacity of a pipe on Linux: one read empties it."""

LAST_READS = 16
"""What a pipe can be made to hold (1 MiB on Linux), in reads: one that never runs dry is still left."""


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """How many bytes of a program's output are kept, from its end and from its beginning."""

    tail_bytes: int
    head_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: its exit code (negative: the signal that killed it), None where time was up.

    `head` and `output` are the first and the last bytes of stdout and stderr together, as they came;
    `left_out` counts those in between that were not kept.
    """

    exit_code: int | None
    output: bytes
    head: bytes = b""
    left_out: int = 0


async def run_program(
    argv: Sequence[str],
    *,
    stdin: bytes | None,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    keep: OutputLimit,
) -> ProgramEnd:
    """Run `argv`, without a shell, in `folder`, as the leader of a session of its own; wait for its end.

    `stdin` None is `/dev/null`: programs such as ripgrep take a file there, be it empty, for their input.
    When the program ends, when `timeout_s` is over, and when the caller is cancelled, its whole process group
    is killed. It need not read `stdin`. Children that left the group and hold the output open are not waited
    for. Raises `OSError` where the program cannot be started, `ValueError` where `argv` holds a NUL or a lone
    surrogate.
    """
    read_end, write_end = os.pipe()
    kept = _KeptOutput(read_end, keep)
    try:
        try:
            # A file and a pipe of our own, not asyncio's: those make wait() wait for grandchildren, too.
            with _input(stdin) as stdin_file:
                process = await start_program(
                    *argv,
                    stdin=stdin_file,
                    stdout=write_end,
                    stderr=write_end,
                    cwd=folder,
                    env=dict(environment),
                )
        finally:
            os.close(write_end)
        exit_code = await _wait(process, timeout_s)
        return kept.end(exit_code)
    finally:
        kept.close()


@contextlib.contextmanager
def _input(stdin: bytes | None) -> Iterator[int | IO[bytes]]:
    if stdin is None:
        yield asyncio.subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        yield file


async def _wait(process: asyncio.subprocess.Process, timeout_s: float) -> int | None:
    exit_code: int | None = None
    try:
        async with asyncio.timeout(timeout_s):
            exit_code = await process.wait()
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return exit_code


class _KeptOutput:
    """Reads a pipe as it fills and keeps the first and the last bytes. Owns the descriptor until `close`."""

    def __init__(self, descriptor: int, limit: OutputLimit) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def end(self, exit_code: int | None) -> ProgramEnd:
        """Return the end of a program that has written all it will."""
        for _ in range(LAST_READS):
            if not self._read():
                break
        self._trim(self._limit.tail_bytes)
        return ProgramEnd(exit_code, bytes(self._tail), bytes(self._head), self._left_out)

    def close(self) -> None:
        """Give up the pipe."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> bool:
        try:
            chunk = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._descriptor)
            return False
        room = self._limit.head_bytes - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * self._limit.tail_bytes + READ_BYTES:  # seldom, since it moves the rest
            self._trim(self._limit.tail_bytes)
        return True

    def _trim(self, size: int) -> None:
        surplus = max(len(self._tail) - size, 0)
        self._left_out += surplus
        del self._tail[:surplus]
