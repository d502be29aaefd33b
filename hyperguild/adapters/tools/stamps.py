"""What state of the files a call would read: two equal stamps, and nothing was written in between."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from hyperguild.adapters.tools.beneath import listable
from hyperguild.adapters.tools.roots import Found, Roots
from hyperguild.adapters.tools.searching import glob_start
from hyperguild.adapters.tools.tree import Tree

ENTRIES_STAMPED_MAX = 2_000
"""Of a search over more files nothing is said: to look at them all takes as long as many a search."""

SETTLED_NS = 100_000_000
"""A file that was written so recently could be written again without a later time: clocks of file systems
tick every 1 to 10 ms. Nothing is said of it."""

_OF_ONE_PATH = frozenset({"fs_read", "fs_write", "fs_edit", "fs_ls", "fs_grep"})


class _Unsettled(Exception):
    """A file was written just now."""


def stamp_of(name: str, arguments: Mapping[str, Any], roots: Roots) -> Hashable | None:
    """Return the state of what a call of a file tool would read; None where that cannot be told.

    Of other tools, which read no files of ours, it is always the same. Blocks on the file system. Raises
    `ToolError` where the call would.
    """
    if name == "fs_glob":
        path = glob_start(arguments)[0]
    elif name in _OF_ONE_PATH:
        path = arguments.get("path") or "."
    else:
        return ()
    now_ns = time.time_ns()  # the files' own clock, whatever that of the program is
    try:
        with roots.at(path) as found:
            status = found.place.status
            own = (found.resolved.path, None if status is None else _version(status, now_ns))
            if not found.place.is_folder:
                return own
            tree = Tree(roots.protection, threading.Event(), entries_max=ENTRIES_STAMPED_MAX)
            looked = _listing(found, now_ns) if name == "fs_ls" else _below(found, tree, now_ns)
            stamp = (own, tuple(looked))
            return None if tree.exhausted else stamp
    except _Unsettled:
        return None


def _listing(found: Found, now_ns: int) -> Iterator[Hashable]:
    descriptor = listable(found.place.folder)
    try:
        for name in sorted(os.listdir(descriptor)):  # noqa: PTH208  # of a descriptor
            yield name, _looked_at(name, descriptor, now_ns)
    finally:
        os.close(descriptor)


def _below(found: Found, tree: Tree, now_ns: int) -> Iterator[Hashable]:
    with contextlib.closing(tree.files(found)) as files:
        for entry in files:
            yield entry.relative, _looked_at(entry.name, entry.folder, now_ns)


def _looked_at(name: str, folder: int, now_ns: int) -> Hashable:
    try:
        return _version(os.stat(name, dir_fd=folder, follow_symlinks=False), now_ns)
    except FileNotFoundError:
        return None


def _version(status: os.stat_result, now_ns: int) -> Hashable:
    """Return what changes with a file. Raises `_Unsettled`."""
    changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    if changed_ns > now_ns - SETTLED_NS:
        raise _Unsettled
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
