"""Finds the programs that chains.yaml names."""

from __future__ import annotations

import shutil
from pathlib import Path


class ProgramNotFound(Exception):
    """There is no such program. The message follows the name of what needs it; `hint` is a remedy, if any."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def find_program(name: str, folder: Path, path: str) -> Path:
    """Return the absolute path of a program that is to run in `folder`.

    A name with a slash is looked up from `folder`, any other in `path` (as of `$PATH`). Raises
    `ProgramNotFound`, also where there is no such folder.
    """
    if not folder.is_dir():
        raise ProgramNotFound(f"cannot be run: no folder {folder}")
    wanted = str(folder / name) if "/" in name else name
    found = shutil.which(wanted, path=path)
    if found is not None:
        return Path(found).absolute()
    if "/" in name and Path(wanted).is_file():
        raise ProgramNotFound(f"is not executable: {wanted}", hint=f"chmod +x {wanted}")
    raise ProgramNotFound(f"not found: {wanted}")
