"""Replacing a file whole, in one step, in a folder that is held open."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from hyperguild.adapters.tools.beneath import WayError, open_folder, require_regular
from hyperguild.adapters.tools.content import Version
from hyperguild.adapters.tools.roots import Found
from hyperguild.domain.tools import ToolError

_TEMPORARY_NAMES = 100
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def require_changeable(found: Found) -> None:
    """Check what can be checked before a change. Raises `ToolError`, `WayError` and `OSError`."""
    resolved, place = found.resolved, found.place
    if not resolved.writable:
        raise ToolError(f"{resolved.shown} is read-only; only files of the work directory can be changed")
    if place.is_folder:
        raise ToolError(f"{resolved.shown} is a folder, not a file")
    if place.status is not None:
        require_regular(place.status)
        # The rename would not mind a file that may not be written; its owner does.
        os.close(os.open(place.parts[-1], os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.folder))
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=place.folder, effective_ids=True):
        raise ToolError(f"{resolved.shown}: the folder it is in may not be written to")


def replace_file(found: Found, data: bytes, expected: Version | None, stop: threading.Event) -> bool:
    """Make the file found hold `data`, with the folders above it; return whether it is new.

    The bytes go to a new file in the same folder, which is then renamed: others see the old content or the
    new one. Permission bits are kept, and the owner where that is allowed; extended attributes are not.
    Raises `ToolError` where the file is no longer the version `expected`, or `stop` was set, and nothing is
    changed then; `WayError` and `OSError`.
    """
    require_changeable(found)
    with _folder_for(found) as folder:
        return _put(folder, found.place.parts[-1], data, expected, stop)


@contextlib.contextmanager
def _folder_for(found: Found) -> Iterator[int]:
    """Make the missing folders; the descriptor of the last one is open for the block."""
    folder = found.place.folder
    with contextlib.ExitStack() as stack:
        for name in found.place.missing[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)  # in an open folder
            folder = open_folder(name, folder)
            stack.callback(os.close, folder)
        yield folder


def _put(folder: int, name: str, data: bytes, expected: Version | None, stop: threading.Event) -> bool:
    before = _status(name, folder)
    if before is not None:
        require_regular(before)
    temporary, descriptor = _new_file(folder, 0o666 if before is None else 0o600)
    renamed = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if before is not None:
                _keep_owner_and_mode(descriptor, before)
        _require_current(name, folder, expected)
        if stop.is_set():
            raise ToolError("interrupted before the file was changed")
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)  # in an open folder
        renamed = True
    finally:
        if not renamed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)  # in an open folder
    return before is None


def _new_file(folder: int, mode: int) -> tuple[str, int]:
    """Create a file under a name of its own, whoever else is at it. Raises `OSError`."""
    for number in range(_TEMPORARY_NAMES):
        name = f".hyperguild-{os.getpid()}-{number}.tmp"
        with contextlib.suppress(FileExistsError):
            return name, os.open(name, _NEW_FILE_FLAGS, mode, dir_fd=folder)
    raise WayError("there are too many temporary files (.hyperguild-*.tmp) beside it")


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    # No set-user-id: the kernel takes it away from a written file, too.
    os.fchmod(descriptor, before.st_mode & 0o777)


def _require_current(name: str, folder: int, expected: Version | None) -> None:
    if expected is None:
        return
    status = _status(name, folder)
    if status is None or Version.of(status) != expected:
        raise ToolError(f"{name} was changed by something else meanwhile; read it again")


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
