"""Keepers for tests: each in a folder of its own, ended with the test."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hyperguild.adapters.embedded.location import KeeperFolder, keeper_folder

LIMIT_S = 60.0
"""Nothing in these tests takes nearly so long: it only keeps a hang from hanging the suite."""


@contextmanager
def keeper_home() -> Iterator[tuple[KeeperFolder, dict[str, str]]]:
    """Yield a keeper's folder, and the environment that leads to it; kill the keeper at the end.

    The path is short, as sockets want it.
    """
    with tempfile.TemporaryDirectory(prefix="hgk-", dir="/tmp") as runtime:
        env = {"XDG_RUNTIME_DIR": runtime}
        folder = keeper_folder(env)
        try:
            yield folder, env
        finally:
            kill_keeper(folder)
            log = folder.log.read_text() if folder.log.exists() else ""
            assert "Traceback" not in log, log
            assert "Warning" not in log, log


def kill_keeper(folder: KeeperFolder) -> None:
    """Kill the folder's keeper, if one lives, and wait for its end."""
    pid = folder.keeper_pid()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: folder.keeper_pid() != pid)


def until(question: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is true; fail when it never is."""
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        if answer := question():
            return answer
        time.sleep(0.02)
    raise AssertionError("it never came true")


def is_running(pid: int) -> bool:
    """Return whether the process lives; one that has ended is dead, though nobody may have asked how."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def keepers_of(folder: KeeperFolder) -> list[int]:
    """Return the ids of all processes that are the folder's keeper, or on their way to be."""
    wanted = b"hyperguild.adapters.embedded.keeper\0" + os.fsencode(folder.path) + b"\0"
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes().endswith(wanted):
                found.append(int(entry.name))
    return found
