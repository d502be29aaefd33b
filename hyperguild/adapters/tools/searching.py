"""The tools that search: `fs_glob` and `fs_grep`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperguild.adapters.tools.beneath import WayError
from hyperguild.adapters.tools.content import content_at, content_of
from hyperguild.adapters.tools.matches import LINE_SHOWN_CHARS, Matches, compiled
from hyperguild.adapters.tools.nearby import missing
from hyperguild.adapters.tools.path_pattern import Glob, GlobError, split_start
from hyperguild.adapters.tools.roots import Found, Roots, is_prefixed
from hyperguild.adapters.tools.schemas import FS_GLOB, FS_GREP
from hyperguild.adapters.tools.threads import reading
from hyperguild.adapters.tools.tree import ENTRIES_MAX, Tree
from hyperguild.domain.text import clipped
from hyperguild.domain.tools import ToolError, ToolSpec
from hyperguild.ports import ToolContext

FILES_SHOWN_MAX = 200
SEARCHED_BYTES_MAX = 10 * 1024 * 1024
"""Larger files are passed over, and counted."""

SKIPPED_SHOWN_MAX = 5


def glob_start(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Return the folder where an `fs_glob` call begins to look, and the pattern below it."""
    path, pattern = arguments.get("path") or ".", arguments["pattern"]
    start, rest = split_start(pattern)
    if start.startswith("/"):
        return start, rest
    if is_prefixed(pattern):
        return (start if "/" in start else f"{start}/"), rest
    return (f"{path.rstrip('/') or '/'}/{start}" if start else path), rest


@dataclass(frozen=True, slots=True)
class FsGlob:
    """Finds files by a pattern, in the order of their paths: the same tree gives the same answer.

    Not by time: those of a fresh checkout mean nothing, and long lists are cut with a count.
    """

    roots: Roots

    spec: ClassVar[ToolSpec] = FS_GLOB

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:  # noqa: ARG002
        """Return one path on each line; see `Tool`."""
        return await reading(lambda stop: self._find(arguments, stop))

    def _find(self, arguments: Mapping[str, Any], stop: threading.Event) -> str:
        start, rest = glob_start(arguments)
        if ".." in rest.split("/"):
            raise ToolError("`..` cannot stand behind a wildcard; begin the pattern with it, or give `path`")
        pattern = _glob(rest)
        tree = Tree(self.roots.protection, stop)
        with self.roots.at(start) as found:
            _require_folder(found)
            root, above = found.resolved.root, len(found.place.parts)
            with contextlib.closing(tree.files(found)) as files:
                fitting = [
                    entry.relative for entry in files if pattern.matches(entry.relative.split("/")[above:])
                ]
        shown = [root.shown(relative) for relative in fitting[:FILES_SHOWN_MAX]]
        notes = _notes(tree)
        if not fitting:
            notes.insert(0, f"no file fits {clipped(arguments['pattern'], LINE_SHOWN_CHARS)}")
        if len(fitting) > FILES_SHOWN_MAX:
            notes.insert(0, f"{FILES_SHOWN_MAX} of {len(fitting)} files; narrow the pattern")
        return "\n".join([*shown, *(f"[{note}]" for note in notes)])


@dataclass(frozen=True, slots=True)
class FsGrep:
    """Searches the lines of text files for a regular expression, of the `regex` package, in bounded time."""

    roots: Roots

    spec: ClassVar[ToolSpec] = FS_GREP

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:  # noqa: ARG002
        """Return `path:line: text` for each match, `path-line- text` for the lines around; see `Tool`."""
        return await reading(lambda stop: self._search(arguments, stop))

    def _search(self, arguments: Mapping[str, Any], stop: threading.Event) -> str:
        matches = Matches(compiled(arguments["pattern"]), int(arguments.get("context", 0)), stop)
        wanted = _glob(arguments["glob"]) if arguments.get("glob") else None
        tree = Tree(self.roots.protection, stop)
        with self.roots.at(arguments.get("path") or ".") as found:
            if found.place.status is not None and not found.place.is_folder:
                matches.search(found.resolved.shown, content_of(found, SEARCHED_BYTES_MAX))
            else:
                _require_folder(found)
                self._search_folder(found, tree, wanted, matches)
        return matches.result(_notes(tree))

    @staticmethod
    def _search_folder(found: Found, tree: Tree, wanted: Glob | None, matches: Matches) -> None:
        root, above = found.resolved.root, len(found.place.parts)
        with contextlib.closing(tree.files(found)) as files:
            for entry in files:
                parts = entry.relative.split("/")
                if not entry.is_regular or (
                    wanted is not None and not wanted.matches(parts[above:]) and not wanted.matches(parts)
                ):
                    continue
                try:
                    content = content_at(entry.name, entry.folder, SEARCHED_BYTES_MAX)
                except (OSError, WayError):  # gone, another thing by now, or not ours to read
                    matches.unread += 1
                    continue
                matches.search(root.shown(entry.relative), content)
                if matches.is_full:
                    return


def _require_folder(found: Found) -> None:
    if found.place.status is None:
        raise missing(found)
    if not found.place.is_folder:
        raise ToolError(f"{found.resolved.shown} is a file, not a folder")


def _glob(pattern: str) -> Glob:
    try:
        return Glob(pattern)
    except GlobError as error:
        raise ToolError(str(error)) from error


def _notes(tree: Tree) -> list[str]:
    """Say what a search did not look at."""
    notes: list[str] = []
    if tree.skipped:
        shown = ", ".join(tree.skipped[:SKIPPED_SHOWN_MAX])
        more = len(tree.skipped) - SKIPPED_SHOWN_MAX
        notes.append(
            f"not searched: {shown}{f' and {more} more' if more > 0 else ''}; name one as path to do so"
        )
    if tree.exhausted:
        notes.append(f"stopped after {ENTRIES_MAX:,} names; name a smaller folder as path")
    return notes
