"""The way from a root folder down to a file, which never leaves the root.

A path is walked one name at a time. Each folder on the way is held open, the next name is looked up in it,
and nothing that the kernel would follow by itself is ever passed to it: no `..`, no link, no second name. A
link is read and its text walked like the rest of the path; `..` goes back to the folder held open before. So
whatever another process renames or links meanwhile, the walk goes from folders of the root to folders of the
root: a name that was a folder when it was looked at and has become a link is refused by the kernel
(`O_NOFOLLOW`), and walked anew as a link. This takes nothing but POSIX 2008 (`openat`, `readlinkat`), so that
no platform needs another way.

What it cannot see: a folder that is moved out of the root, by somebody who may write there anyway, while it
is held open; and a file with a second name (hard link) outside the root, which is read like any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LINKS_MAX = 40
"""Links on one way, as the Linux kernel has it (MAXSYMLINKS)."""

DEPTH_MAX = 200
"""Folders held open on one way; far below the usual limit of 1,024 open files."""

_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK_ERRORS = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})
"""What the systems say where a name opened with these flags is a link."""


class EscapeError(Exception):
    """The way leaves the root; `link` is the link that leads out, relative to the root, or empty."""

    def __init__(self, link: str = "") -> None:
        super().__init__(link)
        self.link = link


class WayError(Exception):
    """There is no such way; the message says why, for a model."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a way ends.

    `parts` are the names from the root, without links. `folder` is an open descriptor: of the place itself
    where that is a folder (`status` then says so), else of the folder that holds it, or would hold its first
    missing name. `missing` are the names at the end of `parts` that do not exist. `status` is that of the
    place, None where something is missing.
    """

    parts: tuple[str, ...]
    folder: int
    missing: tuple[str, ...]
    status: os.stat_result | None

    @property
    def is_folder(self) -> bool:
        """Whether it is there, and a folder."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)


def open_folder(name: str, folder: int) -> int:
    """Open a folder that stands in another. Raises `OSError`; ELOOP or ENOTDIR where it is a link."""
    return os.open(name, _FOLDER_FLAGS, dir_fd=folder)


def listable(folder: int, name: str = ".") -> int:
    """Open an open folder again, or one in it, so that it can be listed. Raises as `open_folder`."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def open_regular(name: str, folder: int) -> int:
    """Open a regular file of a folder for reading; never waits, as a FIFO would let it.

    Raises `OSError`, and `WayError` where it is something else.
    """
    # Looked at first: opening a device or a FIFO can have effects of its own.
    require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        require_regular(os.fstat(descriptor))
    except WayError:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(status: os.stat_result) -> None:
    """Raise `WayError` where a status is not that of a regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise WayError(f"it is {kind_of(status.st_mode)}, not a regular file")


def kind_of(mode: int) -> str:
    """Return what a file is, with its article."""
    kinds: dict[Callable[[int], bool], str] = {
        stat.S_ISREG: "a regular file",
        stat.S_ISDIR: "a folder",
        stat.S_ISLNK: "a link",
        stat.S_ISFIFO: "a FIFO",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((kind for is_kind, kind in kinds.items() if is_kind(mode)), "a special file")


@contextlib.contextmanager
def walked(root: int, parts: Sequence[str], inside: Callable[[str], Sequence[str] | None]) -> Iterator[Place]:
    """Walk from the open folder `root` along `parts`; the place's descriptor is open for the block.

    `inside` turns the absolute target of a link into names from the root, or None where it is elsewhere.
    Raises `EscapeError`, `WayError` where a name on the way is no folder or there are too many, and
    `OSError`.
    """
    walk = _Walk(root, inside)
    try:
        yield walk.to(parts)
    finally:
        walk.close()


class _Walk:
    """One way, with the folders on it that are held open; the root's own descriptor is only borrowed."""

    def __init__(self, root: int, inside: Callable[[str], Sequence[str] | None]) -> None:
        self._inside = inside
        self._folders = [root]
        self._names: list[str] = []
        self._todo: list[str] = []
        self._links = 0

    def close(self) -> None:
        """Close what was opened."""
        self._back_to(0)

    def to(self, parts: Sequence[str]) -> Place:
        """Go along; see `walked`."""
        self._push(parts)
        while self._todo:
            name = self._todo.pop()
            if name == "..":
                self._up()
                continue
            try:
                status = os.stat(name, dir_fd=self._here, follow_symlinks=False)
            except FileNotFoundError:
                return self._missing(name)
            if stat.S_ISLNK(status.st_mode):
                self._follow(name)
            elif stat.S_ISDIR(status.st_mode):
                self._down(name)
            elif self._todo:
                raise WayError(f"{self._shown(name)} is {kind_of(status.st_mode)}, not a folder")
            else:
                return Place((*self._names, name), self._here, (), status)
        return Place(tuple(self._names), self._here, (), os.fstat(self._here))

    @property
    def _here(self) -> int:
        return self._folders[-1]

    def _shown(self, name: str) -> str:
        return "/".join((*self._names, name))

    def _push(self, parts: Sequence[str]) -> None:
        self._todo.extend(part for part in reversed(parts) if part not in {"", "."})

    def _up(self) -> None:
        if not self._names:
            raise EscapeError
        self._back_to(len(self._names) - 1)

    def _back_to(self, depth: int) -> None:
        while len(self._names) > depth:
            self._names.pop()
            os.close(self._folders.pop())

    def _down(self, name: str) -> None:
        if len(self._names) >= DEPTH_MAX:
            raise WayError(f"the path is more than {DEPTH_MAX} folders deep")
        try:
            folder = open_folder(name, self._here)
        except OSError as error:
            if error.errno not in _LINK_ERRORS:
                raise
            self._count_link(name)  # no folder any more: look again
            self._todo.append(name)
        else:
            self._folders.append(folder)
            self._names.append(name)

    def _follow(self, name: str) -> None:
        self._count_link(name)
        try:
            target = os.readlink(name, dir_fd=self._here)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._todo.append(name)  # no link any more: look again
            return
        parts: Sequence[str] | None = target.split("/")
        if target.startswith("/"):
            parts = self._inside(target)
            if parts is None:
                raise EscapeError(self._shown(name))
            self._back_to(0)
        elif self._climbs_out(target):
            raise EscapeError(self._shown(name))
        self._push(parts or ())

    def _climbs_out(self, target: str) -> bool:
        """Return whether the `..` that a link begins with are more than the folders above it."""
        parts = [part for part in target.split("/") if part not in {"", "."}]
        climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
        return climbs > len(self._names)

    def _count_link(self, name: str) -> None:
        self._links += 1
        if self._links > LINKS_MAX:
            raise WayError(f"{self._shown(name)}: too many links, or a circle of them")

    def _missing(self, name: str) -> Place:
        rest = (name, *reversed(self._todo))
        if ".." in rest:
            raise WayError(f"{self._shown(name)} does not exist")
        return Place((*self._names, *rest), self._here, rest, None)
