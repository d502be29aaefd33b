"""Which processes of ours there are, as the kernel knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROGRAM = b"hyperguild.adapters.embedded.server"


def servers_of(parent: int) -> list[int]:
    """Return the ids of the model servers that are the parent's children and have not ended."""
    return [pid for pid in _pids() if PROGRAM in _read(pid, "cmdline") and _parent(pid) == parent]


def marked(mark: str, *, servers_only: bool = False) -> list[int]:
    """Return the ids of the processes with the mark in their environment, whoever their parent is now."""
    found = [pid for pid in _pids() if mark.encode() in _read(pid, "environ")]
    return [pid for pid in found if not servers_only or PROGRAM in _read(pid, "cmdline")]


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _parent(pid: int) -> int | None:
    status = _read(pid, "status").decode().splitlines()
    return next((int(line.split()[1]) for line in status if line.startswith("PPid:")), None)


def _read(pid: int, name: str) -> bytes:
    """Return what /proc says; nothing where the process has ended, or is another user's."""
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:
        return b""
