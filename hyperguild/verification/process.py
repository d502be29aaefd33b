"""Runs a program in bounded time and memory, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 65_536
"""The capacity of a pipe on Linux: one read empties it."""

LAST_READS = 16
"""What a pipe can be made to hold (1 MiB on Linux), in reads: one that never runs dry is still left."""


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: its exit code (negative: the signal that killed it), None where time was up.

    `output` is the tail of stdout and stderr together, as they came.
    """

    exit_code: int | None
    output: bytes


async def run_program(
    argv: Sequence[str],
    *,
    stdin: bytes,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    keep_bytes: int,
) -> ProgramEnd:
    """Run `argv`, without a shell, in `folder`, as the leader of a session of its own; wait for its end.

    When it ends, when `timeout_s` is over, and when the caller is cancelled, its whole process group is
    killed. The program need not read `stdin`. Children that left the group and hold the output open are not
    waited for. Raises `OSError` where the program cannot be started.
    """
    read_end, write_end = os.pipe()
    tail = _OutputTail(read_end, keep_bytes)
    try:
        # A file and a pipe of our own, not asyncio's: those make wait() wait for grandchildren, too.
        with tempfile.TemporaryFile() as stdin_file:
            try:
                stdin_file.write(stdin)
                stdin_file.seek(0)
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=stdin_file,
                    stdout=write_end,
                    stderr=write_end,
                    cwd=folder,
                    env=dict(environment),
                    start_new_session=True,
                )
            finally:
                os.close(write_end)
        exit_code = await _wait(process, timeout_s)
        return ProgramEnd(exit_code, tail.take())
    finally:
        tail.close()


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


class _OutputTail:
    """Reads a pipe as it fills and keeps the last bytes. Owns the descriptor until `close`."""

    def __init__(self, descriptor: int, keep_bytes: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._keep_bytes = keep_bytes
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def take(self) -> bytes:
        """Return the tail of all that was written so far."""
        for _ in range(LAST_READS):
            if not self._read():
                break
        return self._kept

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
        self._kept = (self._kept + chunk)[-self._keep_bytes :]
        return True
