"""Where the session log is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT_VARIABLE = "HYPERGUILD_DB"


def db_path(flag: Path | None, env: Mapping[str, str]) -> Path:
    """Return the database's path: `--db`, else `$HYPERGUILD_DB`, else in the folder for state.

    That folder is `$XDG_STATE_HOME`, or `~/.local/state` where it is not set or not absolute (as the XDG
    base directory specification asks). Variables that are set to nothing count as not set.
    """
    if flag is not None:
        return flag.expanduser()
    if named := env.get(ENVIRONMENT_VARIABLE):
        return Path(named).expanduser()
    state = Path(env.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        home = env.get("HOME")
        state = (Path(home) if home else Path.home()) / ".local" / "state"
    return state / "hyperguild" / "sessions.db"
