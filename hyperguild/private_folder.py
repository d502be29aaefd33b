"""Folders and files of ours that other users may neither enter nor read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FOLDER_MODE = 0o700
OTHERS = 0o077
"""The rights of the group and of everybody else."""


def make_private(folder: Path) -> None:
    """Make a folder that nobody but its owner may enter, missing ones above it likewise, whatever the umask.

    What exists stays as it is. Raises `OSError`.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        try:
            one.mkdir(mode=FOLDER_MODE)
        except FileExistsError:  # somebody else was quicker
            continue
        one.chmod(FOLDER_MODE)


def rights_of_others(path: Path) -> int:
    """Return what group and others may do with a file or folder of the user's own, as the bits of its mode.

    0 where it is not there, cannot be looked at, is a link, or belongs to somebody else.
    """
    try:
        status = path.lstat()
    except OSError:
        return 0
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid():
        return 0
    return stat.S_IMODE(status.st_mode) & OTHERS
