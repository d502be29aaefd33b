"""Where chains.yaml is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperguild.errors import ConfigError

FILE_NAME = "chains.yaml"


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """An absolute path, and whether it was come upon in the working folder or one of its parents.

    A discovered file was not chosen by anyone: what it runs must be trusted first (`config.trust`).
    `named_by` is what chose another (`--config`, `$HYPERGUILD_CONFIG`), None where nothing did.
    """

    path: Path
    discovered: bool
    named_by: str | None = field(default=None, compare=False)


def find_config(flag: Path | None, env: Mapping[str, str], cwd: Path) -> FoundConfig:
    """Return the file to read: `--config`, `$HYPERGUILD_CONFIG`, `cwd` and its parents, then the user's own.

    A file that was named is not looked for: reading it says what is wrong with it. Raises `ConfigError` where
    nothing was named and none is found.
    """
    if flag is not None:
        return FoundConfig(cwd / flag, discovered=False, named_by="--config")
    if env.get("HYPERGUILD_CONFIG"):
        return FoundConfig(cwd / env["HYPERGUILD_CONFIG"], discovered=False, named_by="$HYPERGUILD_CONFIG")
    for folder in (cwd, *cwd.parents):
        candidate = folder / FILE_NAME
        if os.path.isfile(candidate):  # noqa: PTH113 - unlike Path.is_file, never raises
            return FoundConfig(candidate, discovered=True)
    own = user_folder(env, "XDG_CONFIG_HOME", ".config") / FILE_NAME
    if os.path.isfile(own):  # noqa: PTH113 - as above
        return FoundConfig(own, discovered=False)
    raise ConfigError(
        f"no {FILE_NAME} in {cwd}, its parent folders or {own.parent}", hint="run `hyperguild init`"
    )


def path_beside(written: str, folder: Path, home: Path | None) -> Path:
    """Return a path of chains.yaml as it is meant: from `folder`, the file's own, or (`~/`) from `home`."""
    if home is not None and (written == "~" or written.startswith("~/")):
        return home / written[2:]
    return folder / written


def user_folder(env: Mapping[str, str], variable: str, default: str) -> Path:
    """Return hyperguild's folder under an XDG base folder; relative values are ignored, as XDG asks."""
    named = Path(env.get(variable, ""))
    if named.is_absolute():
        return named / "hyperguild"
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return home / default / "hyperguild"
