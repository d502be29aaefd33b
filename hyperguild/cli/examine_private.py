"""What `hyperguild doctor` says of our own files: whether other users can read or change them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from hyperguild.cli.diagnosis import Finding
from hyperguild.cli.options import Settings
from hyperguild.config.locate import user_folder
from hyperguild.private_folder import rights_of_others

AREA = "private files"
WRITE = 0o022


def private_findings(settings: Settings) -> list[Finding]:
    """Return a warning for each file or folder of ours that is open to others, with the command that ends it.

    Looked at are the session log with what SQLite and migrations put beside it, the record of trusted files,
    and the folders of state, results and worktrees; what lies in a closed folder is closed.
    """
    return [
        Finding(
            AREA,
            "warning",
            f"{path} can be {'changed' if rights & WRITE else 'read'} by other users",
            f"chmod {'700' if path.is_dir() else '600'} {shlex.quote(str(path))}",
        )
        for path in _ours(settings)
        if (rights := rights_of_others(path))
    ]


def _ours(settings: Settings) -> Iterator[Path]:
    state = user_folder(settings.env, "XDG_STATE_HOME", ".local/state")
    yield state
    yield from (state / name for name in ("results", "worktrees", "trusted.json"))
    log = settings.db_file().absolute()
    yield log
    beside = (f"{log.name}-", f"{log.name}.")
    if log.parent.is_dir():
        yield from sorted(one for one in log.parent.iterdir() if one.name.startswith(beside))
