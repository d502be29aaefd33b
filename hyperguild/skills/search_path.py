"""Where skills are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from hyperguild.errors import SkillError, UsageError


def skill_search_path(flag: Path | None, env: str | None, chains_file: Path | None) -> tuple[Path, ...]:
    """Return the folders to search, first one first. Raises UsageError where `flag` is not a folder.

    They are `flag` (--skills), the entries of `env` ($HYPERGUILD_SKILLS, a list in the form of $PATH), and
    `skills/` beside `chains_file`; nothing implicit. Empty entries and repetitions are left out.
    Folders that were not named on the command line need not exist.
    """
    if flag is not None and not flag.is_dir():
        raise UsageError(
            f"--skills {flag}: {'not a folder' if flag.exists() else 'no such folder'}",
            hint="name a folder that holds skill folders, each with a SKILL.md; `hyperguild init` makes some",
        )
    folders = [flag] if flag is not None else []
    folders += [Path(entry) for entry in (env or "").split(os.pathsep) if entry]
    if chains_file is not None:
        folders.append(chains_file.parent / "skills")
    return tuple(dict.fromkeys(folders))


def bundled_skills_dir() -> Path:
    """Return the folder of skills that the package carries, which `hyperguild init` copies.

    That is `_skills` in an installed package and `skills/` beside the package in a checkout. Raises
    SkillError when neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_skills", package.parent / "skills"):
        if folder.is_dir():
            return folder
    raise SkillError("the skills that belong to the package are missing", hint="install hyperguild again")
