"""Copies files of one folder to another, byte for byte, with their permissions and times."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1024 * 1024


def copy_files(source: Path, target: Path, names: Iterable[bytes], stop: threading.Event) -> None:
    """Copy files and links from `source` to `target`, an empty folder; a folder is made, not filled.

    Names are relative. What is not there, may not be read, is no file or lies behind a link is passed over.
    Raises `OSError` where `target` cannot be written. Ends early once `stop` is set.
    """
    folders = _Folders(os.fsencode(source), os.fsencode(target))
    for name in names:
        if stop.is_set():
            return
        if folders.ready(os.path.dirname(name)):  # noqa: PTH120  # bytes
            _copy(folders.source + b"/" + name, folders.target + b"/" + name)


class _Folders:
    """Makes folders in `target` as they stand in `source`."""

    def __init__(self, source: bytes, target: bytes) -> None:
        self.source = source
        self.target = target
        self._known = {b"": True}

    def ready(self, name: bytes) -> bool:
        """Make a folder and those above it; return whether it is a folder, without links on the way."""
        if name not in self._known:
            real = self.ready(os.path.dirname(name)) and _is_folder(self.source + b"/" + name)  # noqa: PTH120
            if real:
                os.mkdir(self.target + b"/" + name)  # noqa: PTH102
            self._known[name] = real
        return self._known[name]


def _is_folder(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _copy(source: bytes, target: bytes) -> None:
    try:
        kind = stat.S_IFMT(os.lstat(source).st_mode)
        link = os.readlink(source) if kind == stat.S_IFLNK else None  # noqa: PTH115  # bytes
        if kind == stat.S_IFREG:
            read = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    if link is not None:
        os.symlink(link, target)  # noqa: PTH211
    elif kind == stat.S_IFDIR:
        os.makedirs(target, exist_ok=True)  # noqa: PTH103  # bytes
    elif kind == stat.S_IFREG:
        try:
            _copy_open(read, target)
        finally:
            os.close(read)


def _copy_open(read: int, target: bytes) -> None:
    status = os.fstat(read)
    write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while chunk := os.read(read, _CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[os.write(write, view) :]
        os.fchmod(write, stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(write, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(write)
