"""Programs whose start is cancelled."""

import asyncio
import contextlib
import os
from asyncio.subprocess import PIPE
from pathlib import Path

from shells import becomes

from hyperguild.programs.start import start_program

TURNS = 12
"""More turns of the event loop than a start takes, so that each moment of it is hit."""


async def test_a_cancelled_start_ends_at_once_and_leaves_no_child_behind() -> None:
    mark = "300.7451"
    held = ("sh", "-c", f"sleep {mark}; true")  # the child of the shell holds the pipes
    for turns in range(TURNS):
        starting = asyncio.create_task(start_program(*held, stdin=PIPE, stdout=PIPE, stderr=PIPE))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        starting.cancel()  # impatience changes nothing
        _, waiting = await asyncio.wait((starting,), timeout=20)
        assert not waiting, f"cancelled after {turns} turns it hangs"
        if not starting.cancelled():
            started = starting.result()
            os.killpg(started.pid, 9)
            await started.wait()
    assert await becomes(0, mark)


async def test_a_start_that_fails_while_it_is_cancelled_is_cancelled(tmp_path: Path) -> None:
    for turns in range(TURNS):
        starting = asyncio.create_task(start_program(str(tmp_path / "missing")))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, FileNotFoundError):
            await starting
        assert starting.done()
