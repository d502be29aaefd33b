"""The tools that read: `fs_read` and `fs_ls`."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperguild.adapters.tools.beneath import kind_of, listable
from hyperguild.adapters.tools.content import content_of, lines_of, refuse_binary, text_of
from hyperguild.adapters.tools.nearby import missing
from hyperguild.adapters.tools.roots import Roots, shown_path
from hyperguild.adapters.tools.schemas import FS_LS, FS_READ
from hyperguild.adapters.tools.threads import reading
from hyperguild.domain.text import clipped
from hyperguild.domain.tools import ToolError, ToolSpec
from hyperguild.ports import ToolContext

READ_LINES = 1_000
READ_CHARS = 15_000
"""What one read returns at most: with its notes below the 16 KiB from which a result is kept aside."""

LISTED_MAX = 300


@dataclass(frozen=True, slots=True)
class FsRead:
    """Reads a text file, in parts where it is long.

    The text comes plain: a small model copies what it sees into the `old` of an edit, line numbers and all.
    They are there for whoever asks. Notes stand in square brackets after the text.
    """

    roots: Roots
    chars_max: int = READ_CHARS

    spec: ClassVar[ToolSpec] = FS_READ

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:  # noqa: ARG002
        """Return the lines asked for; see `Tool`."""
        return await reading(lambda _stop: self._read(arguments))

    def _read(self, arguments: Mapping[str, Any]) -> str:
        with self.roots.at(arguments["path"]) as found:
            content = content_of(found)
            shown = found.resolved.shown
        refuse_binary(content, shown)
        text, valid = text_of(content.data)
        notes = [] if valid else ["bytes that are not UTF-8 are shown as \ufffd"]
        if not content.is_whole:
            notes.append(f"only the first {len(content.data):,} of {content.size:,} bytes can be read")
        lines = lines_of(text)
        if not lines:
            return f"[{shown} is empty]"
        first = int(arguments.get("offset", 1))
        if first > len(lines):
            raise ToolError(f"{shown} has {len(lines)} lines; offset {first} is behind its end")
        wanted = lines[first - 1 : first - 1 + int(arguments.get("limit", READ_LINES))]
        if arguments.get("numbers"):
            wanted = [f"{number:>6}\t{line}" for number, line in enumerate(wanted, first)]
        kept = _fitting(wanted, self.chars_max)
        if kept[0] != wanted[0]:
            notes.append(f"line {first} has {len(lines[first - 1]):,} characters; its head is shown")
        last = first + len(kept) - 1
        if last < len(lines):
            notes.insert(0, f"lines {first} to {last} of {len(lines)}; go on with offset {last + 1}")
        return "\n".join([*kept, *(f"[{note}]" for note in notes)])


def _fitting(lines: Sequence[str], chars: int) -> list[str]:
    """Return the first lines that fit, or the head of the first where that is too long alone."""
    kept: list[str] = []
    for line in lines:
        chars -= len(line) + 1
        if chars < 0:
            break
        kept.append(line)
    return kept or [clipped(lines[0], len(lines[0]) + chars)]


@dataclass(frozen=True, slots=True)
class FsLs:
    """Lists a folder by name: folders with a slash, files with their size, links with their target."""

    roots: Roots

    spec: ClassVar[ToolSpec] = FS_LS

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:  # noqa: ARG002
        """Return one line for each name; see `Tool`."""
        return await reading(lambda stop: self._list(arguments.get("path") or ".", stop))

    def _list(self, path: str, stop: threading.Event) -> str:
        with self.roots.at(path) as found:
            place, shown = found.place, found.resolved.shown
            if place.status is None:
                raise missing(found)
            if not place.is_folder:
                return _described(place.parts[-1], place.folder) or f"{shown} is gone"
            descriptor = listable(place.folder)
            try:
                names = sorted(os.listdir(descriptor))  # noqa: PTH208  # of a descriptor
                lines: list[str] = []
                for name in names[:LISTED_MAX]:
                    if stop.is_set():
                        break
                    lines += filter(None, [_described(name, descriptor)])
            finally:
                os.close(descriptor)
        if not names:
            return f"[{shown} is empty]"
        if len(names) > LISTED_MAX:
            lines.append(f"[{LISTED_MAX} of {len(names)} names; fs_glob finds the others]")
        return "\n".join(lines)


def _described(name: str, folder: int) -> str:
    """Return one line about a name in an open folder; empty where it is gone."""
    shown = shown_path(name)
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return f"{shown}/"
        if stat.S_ISREG(status.st_mode):
            return f"{shown} ({status.st_size:,} bytes)"
        if stat.S_ISLNK(status.st_mode):
            return f"{shown} -> {shown_path(os.readlink(name, dir_fd=folder))}"
        return f"{shown} ({kind_of(status.st_mode)})"
    return ""
