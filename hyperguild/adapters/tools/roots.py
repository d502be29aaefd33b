"""The folders that file tools may reach, and the paths by which a model names what is in them.

What is promised: whatever path a model gives, and whatever other processes rename or link while a tool is at
work, a tool opens, lists and replaces only what stands in a root at that moment. A path that leaves its root,
through `..`, a link or as an absolute path, is refused; a link that stays inside is followed. How: every
access walks from the root's folder name by name over open folder descriptors (see `beneath`), and what is
opened or replaced at the end is named relative to the last of them; no path is ever checked first and then
given to the kernel as a whole. A root is known by its device and inode too, so that a root folder that was
moved away and replaced by a link or another folder is refused. Special files are refused and never waited
for. A file is changed by renaming a new one over it, so that a second name (hard link) of the old one keeps
the old content.

What is not: a hard link to a file outside is read like any other file, since making one takes access to both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyperguild.adapters.tools.beneath import EscapeError, Place, WayError, walked
from hyperguild.domain.text import cleaned, clipped
from hyperguild.domain.tools import ToolError
from hyperguild.errors import UsageError

PATH_CHARS_MAX = 4_096
"""Linux's PATH_MAX."""

_PREFIX = re.compile(r"(?P<prefix>[A-Za-z][A-Za-z0-9+.-]*:/)(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that tools may reach.

    `folder` is its absolute path without links. `prefix` is how paths in it begin for the model (`skill:/`):
    empty for the work directory, whose paths are relative; None where they are absolute. `spellings` are the
    names of the absolute paths by which it is known. `identity` is device and inode, None where the folder
    was not there yet.
    """

    folder: str
    prefix: str | None
    writable: bool
    spellings: tuple[tuple[str, ...], ...]
    identity: tuple[int, int] | None

    def inside(self, path: str) -> Sequence[str] | None:
        """Return the names from the root to an absolute path; None where it is elsewhere."""
        parts = _parts(path)
        for spelling in self.spellings:
            if parts[: len(spelling)] == spelling:
                return parts[len(spelling) :]
        return None

    def absolute(self, relative: str) -> str:
        """Return the absolute path of one that is relative to the root."""
        return self.folder if relative == "." else os.path.join(self.folder, relative)  # noqa: PTH118

    def path(self, relative: str) -> str:
        """Return a path as the model may name it: relative to the work directory, absolute or prefixed."""
        if self.prefix is None:
            return self.absolute(relative)
        if self.prefix == "":
            return relative
        return self.prefix + ("" if relative == "." else relative)

    def shown(self, relative: str) -> str:
        """Return a path as the model may name it, on one line."""
        return shown_path(self.path(relative))


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a model's path comes to, for permission checks and for display.

    `relative` is the path from its root, links followed, `.` for the root itself. `named_relative` is the
    same as it was named, links not followed: rules about names hold for both.
    """

    root: Root
    relative: str
    named_relative: str

    @property
    def absolute(self) -> str:
        """The absolute path, links followed."""
        return self.root.absolute(self.relative)

    @property
    def path(self) -> str:
        """The path as the model may name it, links followed; the form in which rules see it."""
        return self.root.path(self.relative)

    @property
    def named(self) -> str:
        """The same with links not followed."""
        return self.root.path(self.named_relative)

    @property
    def writable(self) -> bool:
        """Whether files there may be changed."""
        return self.root.writable

    @property
    def shown(self) -> str:
        """`path` on one line, for a message."""
        return self.root.shown(self.relative)


@dataclass(frozen=True, slots=True)
class Found:
    """What stands, or could stand, at a path: `place` holds an open descriptor."""

    resolved: Resolved
    place: Place


Access = Literal["read", "write"]

Protection = Callable[[str, Access], str | None]
"""Says of a path, in the form of `Resolved.path`, what it is that no tool may read or write; None: it may."""


def no_protection(_path: str, _access: Access) -> str | None:
    """Protect nothing."""
    return None


class Roots:
    """All roots of one attempt: the work directory, further allowed folders, and read-only ones by prefix.

    `protection` is asked at each access about the path that was really reached, and about its name.
    """

    def __init__(
        self,
        work: Path,
        *,
        allowed: Sequence[Path] = (),
        read_only: Mapping[str, Path] | None = None,
        protection: Protection = no_protection,
    ) -> None:
        """Raises `UsageError` where the work directory or an allowed path is no folder.

        The keys of `read_only` are prefixes such as `skill:/`; its folders may come into being later.
        """
        self.work = _root(work, "", writable=True)
        self._prefixed = {
            prefix: _root(folder, prefix, writable=False) for prefix, folder in (read_only or {}).items()
        }
        allowed_roots = [_root(folder, None, writable=True) for folder in allowed]
        for root in (self.work, *allowed_roots):
            if root.identity is None:
                raise UsageError(f"there is no folder {shown_path(root.folder)}")
        self._all = (self.work, *allowed_roots, *self._prefixed.values())
        self.protection = protection

    def __iter__(self) -> Iterator[Root]:
        """Iterate over the roots, the work directory first."""
        return iter(self._all)

    def resolve(self, path: str) -> Resolved:
        """Return what a path comes to, whether it exists or not; a few system calls, no file is opened.

        Raises `ToolError` where it leaves its root or cannot be walked.
        """
        with self._walked(path) as found:
            return found.resolved

    @contextlib.contextmanager
    def at(self, path: str, access: Access = "read") -> Iterator[Found]:
        """Walk to a path, and keep the folder at its end open for the block.

        Raises `ToolError` where the path leaves its root, cannot be walked or is protected; `OSError` and
        `WayError` of the block become one too.
        """
        with self._walked(path) as found:
            resolved = found.resolved
            what = self.protection(resolved.path, access) or self.protection(resolved.named, access)
            if what:
                raise ToolError(f"{resolved.shown} is {what}: no tool may {access} it")
            yield found

    @contextlib.contextmanager
    def _walked(self, path: str) -> Iterator[Found]:
        _require_sane(path)
        root, parts = self._parse(path)
        try:
            descriptor = _open_root(root)
            try:
                with walked(descriptor, parts, root.inside) as place:
                    named = os.path.normpath("/".join(_names(parts)) or ".")
                    yield Found(Resolved(root, "/".join(place.parts) or ".", named), place)
            finally:
                os.close(descriptor)
        except EscapeError as error:
            raise ToolError(self._leaves(path, root, error.link)) from error
        except WayError as error:
            raise ToolError(f"{shown_path(path)}: {error}") from error
        except OSError as error:
            raise ToolError(f"{shown_path(path)}: {_in_words(error)}") from error

    def _parse(self, path: str) -> tuple[Root, Sequence[str]]:
        """Find the root that a path names, and the names from there."""
        prefixed = _PREFIX.fullmatch(path)
        if prefixed is not None:
            root = self._prefixed.get(prefixed["prefix"])
            if root is None:
                known = ", ".join(self._prefixed) or "none"
                raise ToolError(f"there is no root {prefixed['prefix']} (known: {known})")
            return root, prefixed["rest"].split("/")
        if path == "~" or path.startswith("~/"):
            raise ToolError(f"{shown_path(path)}: `~` is not expanded; {self._where_to()}")
        if not path.startswith("/"):
            return self.work, path.split("/")
        for root in self._all:
            parts = root.inside(path)
            if parts is not None:
                return root, parts
        raise ToolError(self._leaves(path, None, ""))

    def _leaves(self, path: str, root: Root | None, link: str) -> str:
        if root is None or root is self.work:
            outside = "outside the work directory"
        else:
            outside = f"outside {root.shown('.')}"
        why = f" ({root.shown(link)} is a link that leads out)" if root is not None and link else ""
        return f"{shown_path(path)} is {outside}{why}; {self._where_to()}"

    def _where_to(self) -> str:
        others = ", ".join(root.shown(".") for root in self._all[1:])
        return f"use a path relative to {self.work.folder}" + (f", or one inside {others}" if others else "")


def is_prefixed(path: str) -> bool:
    """Return whether a path begins as one of a root with a prefix does (`skill:/`)."""
    return _PREFIX.fullmatch(path) is not None


def shown_path(path: str) -> str:
    """Return a path for a message or a list: on one line, else unchanged, so that it can be given back."""
    return cleaned(path).replace("\n", "?").replace("\t", "?")


def _root(folder: Path, prefix: str | None, *, writable: bool) -> Root:
    real = os.path.realpath(folder)
    spellings = dict.fromkeys((_parts(real), _parts(os.path.abspath(folder))))  # noqa: PTH100  # keeps links
    identity = None
    with contextlib.suppress(OSError):
        status = os.stat(real)  # noqa: PTH116
        if stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
    return Root(real, prefix, writable, tuple(spellings), identity)


def _open_root(root: Root) -> int:
    try:
        descriptor = os.open(root.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise WayError(f"there is nothing in {root.shown('.')}: the folder does not exist") from error
    status = os.fstat(descriptor)
    if root.identity not in {None, (status.st_dev, status.st_ino)}:
        os.close(descriptor)
        raise WayError(f"the folder {root.folder} has been replaced by another")
    return descriptor


def _parts(path: str) -> tuple[str, ...]:
    return _names(path.split("/"))


def _names(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in parts if part not in {"", "."})


def _require_sane(path: str) -> None:
    """Refuse what no system call would take. Raises `ToolError`."""
    if not path:
        raise ToolError("the path is empty")
    if "\0" in path:
        raise ToolError(f"{shown_path(path)}: a path cannot hold a NUL character")
    if len(path) > PATH_CHARS_MAX:
        raise ToolError(
            f"{clipped(shown_path(path), 100)}: the path is longer than {PATH_CHARS_MAX} characters"
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ToolError(f"{shown_path(path)}: no file can have this name") from error


def _in_words(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it changed while it was being opened; try again"
    return (error.strerror or "it cannot be reached").lower()
