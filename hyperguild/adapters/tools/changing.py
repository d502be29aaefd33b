"""The tools that write: `fs_write` and `fs_edit`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperguild.adapters.tools.content import (
    UTF8_BOM,
    Version,
    content_of,
    is_binary,
    lines_of,
    refuse_binary,
    text_of,
)
from hyperguild.adapters.tools.diff import bounded, unified
from hyperguild.adapters.tools.edit import edited
from hyperguild.adapters.tools.replacing import replace_file, require_changeable
from hyperguild.adapters.tools.roots import Roots
from hyperguild.adapters.tools.schemas import FS_EDIT, FS_WRITE
from hyperguild.adapters.tools.threads import changing, reading
from hyperguild.domain.text import encodable
from hyperguild.domain.tools import ToolError, ToolSpec
from hyperguild.ports import ToolContext

DIFF_LINES_MAX = 60
DIFF_CHARS_MAX = 4_000
"""What an edit tells the model of the difference it made."""


@dataclass(frozen=True, slots=True)
class _Edit:
    """An edit as it would be made: of which version, to which bytes, how many replacements, its diff."""

    shown: str
    version: Version
    after: bytes
    count: int
    diff: str


@dataclass(frozen=True, slots=True)
class FsWrite:
    """Creates a file, or replaces all of it, byte for byte as given; missing folders are made."""

    roots: Roots

    spec: ClassVar[ToolSpec] = FS_WRITE

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Write the file once the barrier is passed, and say whether it is new; see `Tool`."""
        path, data = arguments["path"], encodable(arguments["content"]).encode()
        await reading(lambda _stop: self._check(path))
        await context.barrier.passed()
        return await changing(lambda stop: self._write(path, data, stop))

    def preview(self, arguments: Mapping[str, Any]) -> str:
        """Return what the call would change as a unified diff, whole and not cleaned; empty where nothing.

        Blocks on the file system. Raises `ToolError` where the call would fail.
        """
        path, data = arguments["path"], encodable(arguments["content"]).encode()
        self._check(path)
        with self.roots.at(path, "write") as found:
            shown = found.resolved.shown
            content = None if found.place.status is None else content_of(found)
        if content is None:
            return unified(None, _diffed(data), shown)
        if is_binary(content.data) or not content.is_whole:
            return f"--- {shown}\n+++ {shown}\n[{content.size:,} bytes are replaced by {len(data):,}]"
        return unified(_diffed(content.data), _diffed(data), shown)

    def _check(self, path: str) -> None:
        if path.endswith("/"):
            raise ToolError(f"{path} names a folder; name the file to write")
        with self.roots.at(path, "write") as found:
            require_changeable(found)

    def _write(self, path: str, data: bytes, stop: threading.Event) -> str:
        with self.roots.at(path, "write") as found:
            is_new = replace_file(found, data, None, stop)
            shown = found.resolved.shown
        lines = len(lines_of(text_of(data)[0]))
        return f"{'created' if is_new else 'replaced'} {shown}: {lines:,} lines, {len(data):,} bytes"


@dataclass(frozen=True, slots=True)
class FsEdit:
    """Replaces text in a file; `edited` says what fits, what is kept, and what is told where nothing fits."""

    roots: Roots

    spec: ClassVar[ToolSpec] = FS_EDIT

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Make the edit once the barrier is passed, and return a short diff; see `Tool`.

        Raises `ToolError`, too, where the file has changed between its reading and its writing.
        """
        edit = await reading(lambda _stop: self._prepared(arguments))
        await context.barrier.passed()
        await changing(lambda stop: self._write(arguments["path"], edit, stop))
        times = "" if edit.count == 1 else f" in {edit.count} places"
        return f"edited {edit.shown}{times}\n{bounded(edit.diff, lines=DIFF_LINES_MAX, chars=DIFF_CHARS_MAX)}"

    def preview(self, arguments: Mapping[str, Any]) -> str:
        """Return what the call would change as a unified diff, whole and not cleaned.

        Blocks on the file system. Raises `ToolError` where the call would fail.
        """
        return self._prepared(arguments).diff

    def _prepared(self, arguments: Mapping[str, Any]) -> _Edit:
        with self.roots.at(arguments["path"], "write") as found:
            content = content_of(found)
            require_changeable(found)
            shown = found.resolved.shown
        refuse_binary(content, shown)
        if not content.is_whole:
            raise ToolError(f"{shown} is too large to edit: {content.size:,} bytes")
        everywhere = bool(arguments.get("all"))
        after, count = edited(content.data, arguments["old"], arguments["new"], everywhere=everywhere)
        diff = unified(_diffed(content.data), _diffed(after), shown)
        return _Edit(shown, content.version, after, count, diff)

    def _write(self, path: str, edit: _Edit, stop: threading.Event) -> None:
        with self.roots.at(path, "write") as found:
            replace_file(found, edit.after, edit.version, stop)


def _diffed(data: bytes) -> str:
    """Return bytes as the text that a diff shows: line ends as they are, U+FFFD for what is not UTF-8."""
    return data.removeprefix(UTF8_BOM).decode("utf-8", "replace")
