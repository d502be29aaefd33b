"""Shell commands in tests: the sandbox of this machine, and what became of processes."""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from typing import Any

import pytest
from file_tools import OpenBarrier

from hyperguild.adapters.tools.sandbox import NoSandbox, Sandbox, find_sandbox
from hyperguild.adapters.tools.shell import ShellTool
from hyperguild.ports import ToolContext

NONE = NoSandbox("bubblewrap is not installed", "apt-get install bubblewrap")


@functools.cache
def found() -> Sandbox | NoSandbox:
    """What this machine has."""
    return asyncio.run(find_sandbox(os.environ))


def working_sandbox() -> Sandbox:
    """Return the sandbox, or skip the test with the reason why there is none."""
    sandbox = found()
    if isinstance(sandbox, NoSandbox):
        pytest.skip(f"needs a working sandbox: {sandbox.reason}")
    return sandbox


async def sh(tool: ShellTool, command: str, **arguments: Any) -> str:
    """Run a command without a barrier; raises what the tool raises."""
    context = ToolContext(barrier=OpenBarrier(), offer=lambda _text: None)
    return await tool.run({"command": command, **arguments}, context)


def running(mark: str) -> list[int]:
    """Return the processes that run with this argument, zombies not counted."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            if mark.encode() in words:
                pids.append(int(folder.name))
    return pids


async def becomes(count: int, mark: str) -> bool:
    """Return whether, within ten seconds, so many processes run with this argument."""
    for _ in range(1_000):
        if len(running(mark)) == count:
            return True
        await asyncio.sleep(0.01)
    return False
