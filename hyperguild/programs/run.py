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
    """How many bytes of a program's output are kept, from its end and from its beginning.

    `stderr_tail_bytes`: so many are kept of the end of stderr, apart; None: it comes with stdout.
    """

    tail_bytes: int
    head_bytes: int = 0
    stderr_tail_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: its exit code (negative: the signal that killed it), None where time was up.

    `head` and `output` are the first and the last bytes of stdout and stderr together, as they came;
    `left_out` counts those in between that were not kept. Where stderr is kept apart, `stderr` is its end.
    """

    exit_code: int | None
    output: bytes
    head: bytes = b""
    left_out: int = 0
    stderr: bytes = b""

    def in_words(self) -> str:
        """Return how it ended, to follow its name: the signal that killed it, or its exit code."""
        if self.exit_code is None:
            return "was not done in time"
        if self.exit_code < 0:
            number = -self.exit_code
            named = number in {member.value for member in signal.Signals}
            return f"was killed by {signal.Signals(number).name if named else f'signal {number}'}"
        return f"exited with {self.exit_code}"


async def run_program(
    argv: Sequence[str],
    *,
    stdin: bytes | None,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float | None,
    keep: OutputLimit,
) -> ProgramEnd:
    """Run `argv`, without a shell, in `folder`, as the leader of a session of its own; wait for its end.

    `stdin` None is `/dev/null`: programs such as ripgrep take a file there, be it empty, for their input.
    When the program ends, when `timeout_s` is over (None: the caller bounds it), and when the caller is
    cancelled, its whole process group is killed. It need not read `stdin`. Children that left the group and
    hold the output open are not waited for. Raises `OSError` where the program cannot be started,
    `ValueError` where `argv` holds a NUL or a lone surrogate.
    """
    with contextlib.ExitStack() as pipes:
        # A file and pipes of our own, not asyncio's: those make wait() wait for grandchildren, too.
        output = errors = pipes.enter_context(contextlib.closing(_KeptOutput(keep)))
        if keep.stderr_tail_bytes is not None:
            apart = OutputLimit(tail_bytes=keep.stderr_tail_bytes)
            errors = pipes.enter_context(contextlib.closing(_KeptOutput(apart)))
        with _input(stdin) as stdin_file:
            process = await start_program(
                *argv,
                stdin=stdin_file,
                stdout=output.write_end,
                stderr=errors.write_end,
                cwd=folder,
                env=dict(environment),
            )
        output.close_write_end()
        errors.close_write_end()
        exit_code = await _wait(process, timeout_s)
        return ProgramEnd(exit_code, *output.kept(), stderr=b"" if errors is output else errors.kept()[0])


@contextlib.contextmanager
def _input(stdin: bytes | None) -> Iterator[int | IO[bytes]]:
    if stdin is None:
        yield asyncio.subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        yield file


async def _wait(process: asyncio.subprocess.Process, timeout_s: float | None) -> int | None:
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
    """Reads a pipe of its own as it fills and keeps the first and the last bytes. End it with `close`."""

    def __init__(self, limit: OutputLimit) -> None:
        self._descriptor, self.write_end = os.pipe()
        os.set_blocking(self._descriptor, False)
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    def close_write_end(self) -> None:
        """Close what the program writes to, once it has that itself: the pipe ends with the program then."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def kept(self) -> tuple[bytes, bytes, int]:
        """Return tail, head, and the bytes left out, of a program that has written all it will."""
        for _ in range(LAST_READS):
            if not self._read():
                break
        self._trim(self._limit.tail_bytes)
        return bytes(self._tail), bytes(self._head), self._left_out

    def close(self) -> None:
        """Give up the pipe."""
        self.close_write_end()
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
