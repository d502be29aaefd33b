"""Runs git for ourselves: no program that a repository's configuration names runs along.

In the user's repository only commands run that read it, and those that store objects and refs of ours; hooks,
file system monitors and housekeeping are switched off for them. What reads and compares files is done in a
git directory of our own (see `snapshots`), whose configuration and attributes are ours alone: no filter,
external diff, text conversion or signing program of the user's configuration is known there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hyperguild.domain.text import one_line
from hyperguild.programs.environment import reduced_environment
from hyperguild.programs.run import OutputLimit, run_program

TIME_LIMIT_S = 120.0
"""Of one command, so that a dead network file system hangs no run. They take milliseconds."""

OUTPUT_BYTES = 1024**3
"""More than any list of files or patch that is of use."""

SAID_BYTES = 16_384
SAID_CHARS = 300

_QUIET = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)


class GitError(Exception):
    """A git command failed; the text is what it said, on one line."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one folder, with one environment."""

    folder: Path
    environment: Mapping[str, str]

    async def run(self, *arguments: str, stdin: bytes | None = None, also_ok: int = 0) -> bytes:
        """Return what a command writes to standard output. Its exit code must be 0 or `also_ok`.

        Raises `GitError`, and `OSError` where git cannot be started. Cancelling kills it.
        """
        end = await run_program(
            ["git", *_QUIET, *arguments],
            stdin=stdin,
            folder=self.folder,
            environment=self.environment,
            timeout_s=TIME_LIMIT_S,
            keep=OutputLimit(tail_bytes=OUTPUT_BYTES, stderr_tail_bytes=SAID_BYTES),
        )
        if end.exit_code not in {0, also_ok}:
            said = one_line(end.stderr.decode("utf-8", "replace"), SAID_CHARS)
            how = "took too long" if end.exit_code is None else f"ended with exit code {end.exit_code}"
            raise GitError(said or f"git {arguments[0]} {how}")
        if end.left_out:
            raise GitError(f"git {arguments[0]} has more to say than fits into memory")
        return end.output

    async def text(self, *arguments: str, stdin: bytes | None = None, also_ok: int = 0) -> str:
        """Return the same as text, less the line feed at its end."""
        return os.fsdecode(await self.run(*arguments, stdin=stdin, also_ok=also_ok)).removesuffix("\n")

    def at(self, folder: Path, **environment: str) -> Git:
        """Return git in another folder, with more in its environment."""
        return replace(self, folder=folder, environment={**self.environment, **environment})


def users_git(env: Mapping[str, str], folder: Path) -> Git:
    """Return git with the user's configuration, in a folder of theirs; `env` is the whole environment."""
    passed = reduced_environment(env, frozenset({"XDG_CONFIG_HOME"}))
    fixed = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    return Git(folder, {"PATH": os.defpath, **passed, **fixed})
