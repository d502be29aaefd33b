"""The user's git repository: what is known of it, and the refs under which attempts are kept in it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hyperguild.adapters.tools.git import GitError, users_git
from hyperguild.errors import UsageError

REFS = "refs/hyperguild/attempts/"

KEPT_FOR = timedelta(days=14)
"""A kept attempt is reviewed soon or never; it is as long as git itself keeps what nothing refers to."""

KEPT_MOST = 50
"""The newest of them: a list that a person still looks through."""

_FACTS = (
    *("--show-object-format", "--show-toplevel", "--git-common-dir"),
    *("--git-path", "objects", "--git-path", "index"),
)


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository is: absolute paths. `head` is the commit that is checked out, None before the first.

    `top` is the folder of its files; `common` its git directory, which all its worktrees share.
    """

    top: str
    common: str
    objects: str
    index: str
    object_format: str
    head: str | None


async def find_repository(env: Mapping[str, str], folder: Path) -> Repository:
    """Return the repository that holds a folder.

    Raises `UsageError` where there is none, it has no files (bare), git refuses it or is not installed.
    """
    git = users_git(env, folder)
    try:
        facts = (await git.text("rev-parse", *_FACTS)).split("\n")
        head = await git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}", also_ok=1)
    except GitError as error:
        raise UsageError(
            f"`workspace: worktree` needs a git repository at {folder}: {error}",
            hint="run `git init` there, or set `workspace: shared` in chains.yaml",
        ) from error
    except OSError as error:
        raise UsageError(
            f"`workspace: worktree` needs git, which cannot be started: {error.strerror or error}",
            hint="install git, or set `workspace: shared` in chains.yaml",
        ) from error
    if len(facts) != len(_FACTS) - 2 or not all(facts):
        raise UsageError(
            f"`workspace: worktree` cannot be used in {folder}: the path of its repository has a line break",
            hint="rename the folder, or set `workspace: shared` in chains.yaml",
        )
    object_format, top, *others = facts
    common, objects, index = (os.path.realpath(folder / one) for one in others)  # noqa: ASYNC240  # no waiting
    return Repository(top, common, objects, index, object_format, head or None)


async def require_tracked(env: Mapping[str, str], repository: Repository, folder: Path) -> None:
    """Raise `UsageError` where git ignores the folder: what is changed in it would never be applied."""
    if str(folder) == repository.top:
        return
    try:
        ignored = await users_git(env, folder.parent).run("check-ignore", "--", folder.name, also_ok=1)
    except GitError as error:
        raise UsageError(f"git cannot tell whether it ignores {folder}: {error}") from error
    if ignored:
        raise UsageError(
            f"`workspace: worktree` cannot be used in {folder}: git ignores this folder",
            hint="take it out of .gitignore, or set `workspace: shared` in chains.yaml",
        )


async def core_settings(env: Mapping[str, str], repository: Repository) -> dict[str, str]:
    """Return the user's settings of `core` that decide which files there are, and which of them are ignored.

    Raises `GitError`.
    """
    names = "^core\\.(filemode|symlinks|ignorecase|precomposeunicode|excludesfile)$"
    git = users_git(env, Path(repository.top))
    listed = await git.text("config", "-z", "--type=path", "--get-regexp", names, also_ok=1)
    pairs = (entry.partition("\n") for entry in listed.split("\0") if entry)
    return {name.removeprefix("core."): value for name, _, value in pairs}


async def store(env: Mapping[str, str], repository: Repository, pack: bytes, ref: str, commit: str) -> None:
    """Put objects into the repository, and name a commit among them. Raises `GitError` and `OSError`."""
    git = users_git(env, Path(repository.top)).at(Path(repository.top), GIT_DIR=repository.common)
    await git.run("unpack-objects", "-q", stdin=pack)
    await git.run("update-ref", ref, commit)


async def newest_kept(
    env: Mapping[str, str], repository: Repository, lines: Collection[str]
) -> tuple[str, str] | None:
    """Return ref and commit of the newest kept attempt whose message holds these lines.

    Raises `GitError` and `OSError`.
    """
    git = users_git(env, Path(repository.top)).at(Path(repository.top), GIT_DIR=repository.common)
    form = "--format=%(refname) %(objectname)%00%(contents)%00"
    fields = (await git.text("for-each-ref", "--sort=-refname", form, REFS)).split("\0")
    for named, message in zip(fields[0::2], fields[1::2], strict=False):
        if set(lines) <= set(message.split("\n")):
            ref, commit = named.split()
            return ref, commit
    return None


async def forget(env: Mapping[str, str], repository: Repository, ref: str) -> None:
    """Delete a ref of ours. Raises `GitError` and `OSError`."""
    git = users_git(env, Path(repository.top)).at(Path(repository.top), GIT_DIR=repository.common)
    await git.run("update-ref", "-d", ref)


async def prune(env: Mapping[str, str], repository: Repository, now: datetime) -> None:
    """Forget kept attempts that are too old or too many. Raises `GitError` and `OSError`."""
    git = users_git(env, Path(repository.top)).at(Path(repository.top), GIT_DIR=repository.common)
    listed = await git.text(
        "for-each-ref", "--sort=-creatordate", "--format=%(creatordate:unix) %(refname)", REFS
    )
    oldest = (now - KEPT_FOR).timestamp()
    surplus = [
        ref
        for position, (written, _, ref) in enumerate(line.partition(" ") for line in listed.splitlines())
        if position >= KEPT_MOST or (written.isdecimal() and int(written) < oldest)
    ]
    if surplus:
        await git.run(
            "update-ref", "--stdin", stdin=os.fsencode("".join(f"delete {ref}\n" for ref in surplus))
        )
