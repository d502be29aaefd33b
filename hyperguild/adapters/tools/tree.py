"""All files below a folder, found without following a link, in a bounded number of looks."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from hyperguild.adapters.tools.beneath import DEPTH_MAX, listable
from hyperguild.adapters.tools.roots import Found, Protection, Root

ENTRIES_MAX = 100_000
"""Names looked at in one search."""

IGNORED = frozenset({".git", ".hg", ".svn", ".jj", "node_modules", "__pycache__"})
"""What a search leaves out unless it starts there: version control, packages and compiled files."""

IGNORED_IF_HOLDING = ("CACHEDIR.TAG", "pyvenv.cfg")
"""Marks of folders left out likewise: caches (bford.info/cachedir), virtual environments (PEP 405)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a link, in an open folder. `relative` is its path from the root.

    The descriptor of `folder` is open until the next entry is asked for.
    """

    relative: str
    name: str
    folder: int
    is_regular: bool


class Tree:
    """One search: `skipped` and `exhausted` tell, when it is over, what of note it did not look at."""

    def __init__(
        self, protection: Protection, stop: threading.Event, *, entries_max: int = ENTRIES_MAX
    ) -> None:
        """What `protection` lets nobody read is passed over in silence."""
        self.skipped: list[str] = []
        self.exhausted = False
        self._protection = protection
        self._stop = stop
        self._left = entries_max

    def files(self, found: Found) -> Generator[Entry, None, None]:
        """Yield the files and links below the folder that a path was found in, or to be.

        A folder's own files come first, by name; then its folders, by name. Ends early when stopped, or when
        too many names have been looked at (`exhausted`). Folders that cannot be opened are skipped. Close the
        generator: it holds descriptors. Raises `OSError` where the folder itself cannot be listed.
        """
        place = found.place
        parts = place.parts[: len(place.parts) - len(place.missing)]
        descriptor = listable(place.folder)
        try:
            yield from self._below(found.resolved.root, descriptor, parts)
        finally:
            os.close(descriptor)

    def _below(self, root: Root, folder: int, parts: Sequence[str]) -> Generator[Entry, None, None]:
        folders, files = self._listed(folder)
        for name, is_regular in files:
            relative = "/".join((*parts, name))
            if self._stop.is_set():
                return
            if name not in IGNORED and not self._protection(root.path(relative), "read"):
                yield Entry(relative, name, folder, is_regular)
        for name in folders:
            relative = "/".join((*parts, name))
            if self._stop.is_set() or self.exhausted:
                return
            if self._protection(root.path(relative), "read"):
                continue
            if name in IGNORED:
                self._pass_over(name, root.shown(relative))
                continue
            if len(parts) >= DEPTH_MAX:
                self.skipped.append(root.shown(relative))
                continue
            try:
                descriptor = listable(folder, name)
            except OSError:  # gone, a link by now, or not ours to enter
                self.skipped.append(root.shown(relative))
                continue
            try:
                if _is_marked(descriptor):
                    self._pass_over(name, root.shown(relative))
                else:
                    yield from self._below(root, descriptor, (*parts, name))
            finally:
                os.close(descriptor)

    def _pass_over(self, name: str, shown: str) -> None:
        if not name.startswith(".") and name != "__pycache__":  # nobody asks for those
            self.skipped.append(shown)

    def _listed(self, folder: int) -> tuple[list[str], list[tuple[str, bool]]]:
        folders: list[str] = []
        files: list[tuple[str, bool]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._left <= 0:
                    self.exhausted = True
                    break
                self._left -= 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    files.append((entry.name, entry.is_file(follow_symlinks=False)))
        return sorted(folders), sorted(files)


def _is_marked(folder: int) -> bool:
    return any(os.access(mark, os.F_OK, dir_fd=folder, follow_symlinks=False) for mark in IGNORED_IF_HOLDING)
