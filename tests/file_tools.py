"""Calls of the file tools in tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hyperguild.adapters.tools.files import file_tools
from hyperguild.adapters.tools.roots import Roots
from hyperguild.ports import Tool, ToolContext

PAUSE_S = 0.000_3
"""Between two swaps: about as long as a swap takes, so that a reader finds both states."""


class OpenBarrier:
    """A barrier that lets everybody pass, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def passed(self) -> None:
        self.count += 1


class ShutBarrier:
    """A barrier that lets pass only once it is opened; `reached` is set when somebody waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.opened.wait()


def tool(roots: Roots, name: str) -> Tool:
    return next(each for each in file_tools(roots) if each.spec.name == name)


async def call(roots: Roots, name: str, **arguments: Any) -> str:
    """Run a tool without a barrier; raises what it raises."""
    context = ToolContext(barrier=OpenBarrier(), offer=lambda _text: None)
    return await tool(roots, name).run(arguments, context)


def tree_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their content, links not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def names_in(folder: Path) -> list[str]:
    """The names of all that is below a folder, empty folders included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextlib.contextmanager
def in_a_loop(act: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread, during the block."""
    stop = threading.Event()
    faults: list[OSError] = []

    def loop() -> None:
        try:
            while not stop.wait(PAUSE_S):
                act()
        except OSError as error:
            faults.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert faults == []


def swapping(path: Path, target: Path) -> Callable[[], None]:
    """Return what puts a link to `target` in the place of `path`, and `path` back.

    While neither is there, a tool may make a folder of that name; it is taken away.
    """
    aside = path.with_name(path.name + ".aside")

    def swap() -> None:
        path.rename(aside)
        with contextlib.suppress(FileExistsError):
            path.symlink_to(target)
            path.unlink()
        while aside.exists():
            try:
                aside.rename(path)
            except OSError:
                shutil.rmtree(path, ignore_errors=True)

    return swap


@contextlib.contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Run the block as a user whom file permissions bind; `folder` and what is in it are given to them."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65_534
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    for parent in folder.parents:
        if parent.stat().st_mode & 0o055 != 0o055:  # pytest's folders
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
