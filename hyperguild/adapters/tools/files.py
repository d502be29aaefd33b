"""The file tools together: what a toolbox is built from, and which paths a call of them touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperguild.adapters.tools.changing import FsEdit, FsWrite
from hyperguild.adapters.tools.reading import FsLs, FsRead
from hyperguild.adapters.tools.roots import Resolved, Roots
from hyperguild.adapters.tools.searching import FsGlob, FsGrep, glob_start
from hyperguild.ports import Tool

_WITH_PATH = frozenset({"fs_read", "fs_ls", "fs_grep", "fs_write", "fs_edit"})


def file_tools(roots: Roots) -> tuple[Tool, ...]:
    """Return all file tools over these roots."""
    return FsRead(roots), FsLs(roots), FsGlob(roots), FsGrep(roots), FsWrite(roots), FsEdit(roots)


def paths_of(name: str, arguments: Mapping[str, Any], roots: Roots) -> tuple[Resolved, ...]:
    """Return what the path of a call comes to, for permission checks; nothing for tools that are not ours.

    The path of a search is the folder where it begins. Arguments that the schema would refuse count as
    absent. A few system calls. Raises `ToolError` where the path leaves its root or cannot be walked.
    """
    if name == "fs_glob" and isinstance(arguments.get("pattern"), str):
        path, _ = glob_start(arguments)
    elif name in _WITH_PATH:
        path = arguments.get("path") or "."
    else:
        return ()
    return (roots.resolve(path),) if isinstance(path, str) else ()
