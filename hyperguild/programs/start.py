"""Starts programs so that a cancellation in that moment leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from hyperguild.programs.uncancelled import to_the_end

_POLL_S = 0.005


async def start_program(*argv: str, **options: Any) -> asyncio.subprocess.Process:
    """Do what `asyncio.create_subprocess_exec` does, in a session of its own; cancellation leaves nothing.

    asyncio itself, cancelled while it connects the pipes, kills only the program, not what that has started,
    and then waits until the last pipe is closed: for ever, where a child holds one. Here the start, which
    takes milliseconds, goes on to its end; then the whole process group is killed. Raises `OSError` where the
    program cannot be started, `ValueError` where `argv` holds a NUL or a lone surrogate.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(*argv, **options, start_new_session=True),
    )
    try:
        return await to_the_end(starting)
    except asyncio.CancelledError:
        if starting.exception() is None:
            await _kill(starting.result())
        raise


def close_pipes(process: asyncio.subprocess.Process) -> None:
    """Close our ends of a program's pipes, though others may hold theirs; kill it where it still runs."""
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    close_pipes(process)
    while process.returncode is None:  # until it is collected; nothing survives that signal
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(_POLL_S)
