"""Worktrees: an attempt works in a copy of the user's files; only an accepted one's changes reach them.

A worktree holds the files of the repository around the work directory as they are at that moment: uncommitted
changes and new files included; ignored files, submodules and empty folders are not. Commands in it see the
repository's history, and what is staged, through a git directory that is no more than the worktree's own HEAD
and index; the user's index, branches, HEAD and stash are never written, and the worktree is not in
`git worktree list`. What an attempt creates and git ignores ends with the worktree.

What is kept of an attempt is a commit under `refs/hyperguild/attempts/`: its parent is the state that it
began with, whose parent is the commit that was checked out. Pushing all refs (`git push --mirror`) sends
these too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import stat
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperguild.adapters.tools.copying import copy_files
from hyperguild.adapters.tools.git import GitError
from hyperguild.adapters.tools.places import Origin, Place, abandoned
from hyperguild.adapters.tools.repository import (
    REFS,
    Repository,
    core_settings,
    find_repository,
    forget,
    newest_kept,
    prune,
    require_tracked,
    store,
)
from hyperguild.adapters.tools.snapshots import Shadow, copy_index
from hyperguild.adapters.tools.threads import changing
from hyperguild.domain.agent import WorkOrder
from hyperguild.errors import UsageError
from hyperguild.ports import Clock, IdSource
from hyperguild.programs.uncancelled import to_the_end

SUBMODULES = "submodules are empty folders in the worktree of an attempt; what is put there is not kept"

REFUSED = "An attempt of {}, not accepted"
INTERRUPTED = "An attempt of {}, interrupted"
UNFIT = "An attempt of {}, accepted, but not applied"
"""Titles of commits. Only what was interrupted is ever taken up again."""


class Worktrees:
    """Makes worktrees, each in a folder of mode 0700 below `folder`. `env` is the whole environment."""

    def __init__(self, env: Mapping[str, str], folder: Path, clock: Clock, ids: IdSource) -> None:
        self._env = env
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def open(self, order: WorkOrder, origin: Origin) -> AsyncGenerator[Worktree, None]:
        """Give a worktree for one attempt; one that is not settled when the block ends is put aside.

        First, what processes that were killed have left in this repository is put aside too, and kept
        attempts that are too old or too many are forgotten. Raises `UsageError` where no worktree can be made
        of the work directory. Cancelling leaves none.
        """
        repository = await find_repository(self._env, order.folder)
        await require_tracked(self._env, repository, order.folder)
        warnings = await self._tidy(repository)
        place: Place | None = None
        try:
            place = Place.make(self._folder.resolve(), self._ids.new_id(), repository, origin)
            worktree = await self._filled(place, order, warnings)
        except (GitError, OSError) as error:
            raise UsageError(
                f"no worktree of {repository.top} can be made: {error}",
                hint="set `workspace: shared` in chains.yaml to work in the folder itself",
            ) from error
        finally:
            if place is not None and place.base is None:
                await changing(lambda _stop: place.remove())
        try:
            yield worktree
        finally:
            await worktree.settle(accepted=None)

    async def _filled(self, place: Place, order: WorkOrder, warnings: tuple[str, ...]) -> Worktree:
        repository = place.repository
        top = Path(repository.top)
        shadow = Shadow(place.shadow, repository, self._env)
        settings = await core_settings(self._env, repository)
        await changing(lambda _stop: shadow.make(settings))
        names = _less(await shadow.present(top), top, self._folder)
        await changing(lambda stop: _fill(place, names, stop))
        base = await shadow.snapshot(place.tree)
        moved = _moved(order, repository, place.tree)
        if (top / ".gitmodules").exists():
            warnings = (*warnings, SUBMODULES)
        place.begin(base)
        worktree = Worktree(place, shadow, moved, warnings, (self._clock, self._turn))
        if order.goes_on:
            warning = await self._bring_back(place, shadow)
            worktree.as_left = warning is None
            worktree.warnings += (warning,) if warning else ()
        return worktree

    async def _bring_back(self, place: Place, shadow: Shadow) -> str | None:
        """Bring back what an interrupted attempt of that model in that run had changed.

        Returns None where it is back, else why not, "" where nothing was kept.
        """
        repository, about = place.repository, place.origin.lines
        found = await newest_kept(self._env, repository, (INTERRUPTED.format(place.origin.model), *about))
        if found is None:
            return ""
        ref, commit = found
        patch = await shadow.patch(f"{commit}~", commit)
        try:
            await shadow.git(place.tree).run("apply", "--whitespace=nowarn", stdin=patch)
        except GitError as error:
            show = shlex.join(("git", "-C", repository.top, "show", ref))
            return f"what {place.origin.model} had changed cannot be brought back: `{show}` ({error})"
        await forget(self._env, repository, ref)
        return None

    async def _tidy(self, repository: Repository) -> tuple[str, ...]:
        warnings: list[str] = []
        try:
            for place in abandoned(self._folder, repository):
                shadow = Shadow(place.shadow, repository, self._env)
                left = Worktree(place, shadow, WorkOrder(place.tree), (), (self._clock, self._turn))
                warnings += await left.settle(accepted=None)
            await prune(self._env, repository, self._clock.now())
        except (GitError, OSError) as error:
            warnings.append(f"attempts that are kept in {repository.top} could not be tidied: {error}")
        return tuple(warnings)


class Worktree:
    """The worktree of one attempt. `order` is the run's work order, its folders those of the worktree.

    `as_left`: it holds what an attempt that is taken up had changed.
    """

    def __init__(
        self,
        place: Place,
        shadow: Shadow,
        order: WorkOrder,
        warnings: tuple[str, ...],
        shared: tuple[Clock, asyncio.Lock],
    ) -> None:
        self.order = order
        self.warnings = warnings
        self.as_left = False
        self._place = place
        self._shadow = shadow
        self._clock, self._turn = shared
        self._settled = False

    async def settle(self, accepted: bool | None) -> tuple[str, ...]:
        """Apply the changes to the user's files, or keep them under a ref; then remove the worktree.

        `accepted` None: the attempt was interrupted, and may be taken up with what it has changed.

        All changes are applied or, where the user has changed the same lines meanwhile, none: they are kept
        then. Returns warnings that say what is kept and how to see it; raises nothing. It goes to its end
        even when it is cancelled. The second call does nothing.
        """
        if self._settled:
            return ()
        self._settled = True
        return await to_the_end(asyncio.ensure_future(self._settle(accepted=accepted)))

    async def _settle(self, *, accepted: bool | None) -> tuple[str, ...]:
        place = self._place
        try:
            base = place.base
            after = None if base is None else await self._shadow.snapshot(place.tree)
            warnings: tuple[str, ...] = ()
            if base is not None and after is not None and after != base:
                how = INTERRUPTED if accepted is None else REFUSED
                warnings = await (self._apply(base, after) if accepted else self._put_aside(base, after, how))
        except (GitError, OSError) as error:
            place.release()
            return (f"{self._what} could neither be applied nor kept: {error}; it is in {place.tree}",)
        await asyncio.to_thread(place.remove)
        return warnings

    async def _put_aside(self, base: str, after: str, title: str) -> tuple[str, ...]:
        ref = await self._keep(base, after, title)
        return (f"{self._what} was not applied, but is kept: `{self._git('show', ref)}`",)

    async def _apply(self, base: str, after: str) -> tuple[str, ...]:
        """Apply what leads from one tree to the other; keep it instead where that does not fit."""
        top = Path(self._place.repository.top)
        git = self._shadow.git(top)
        patch = await self._shadow.patch(base, after)
        names = await self._shadow.changed(base, after)
        fits = False
        async with self._turn:
            try:
                await git.run("apply", "--whitespace=nowarn", "--check", stdin=patch)
                await asyncio.to_thread(_require_room, self._place.tree, top, names)
                fits = True
                await git.run("apply", "--whitespace=nowarn", stdin=patch)
            except GitError as error:
                ref = await self._keep(base, after, UNFIT)
                show, pick = self._git("show", ref), self._git("cherry-pick", "--no-commit", ref)
                how = "only in part" if fits else "not"
                return (
                    f"{self._what} was accepted, but could {how} be applied; it is kept: `{show}` ({error})",
                    f"to apply what {ref} keeps, once your own changes are committed: `{pick}`",
                )
            await asyncio.to_thread(_give_permissions, self._place.tree, top, names)
        return ()

    async def _keep(self, base: str, after: str, title: str) -> str:
        place, shadow, origin = self._place, self._shadow, self._place.origin
        at = int(self._clock.now().timestamp())
        about = "\n".join(("", "", *origin.lines, ""))
        before = f"Before an attempt of {origin.model}{about}"
        begun = await shadow.commit(base, place.repository.head, before, at)
        commit = await shadow.commit(after, begun, title.format(origin.model) + about, at)
        ref = f"{REFS}{place.name}"
        await store(shadow.env, place.repository, await shadow.pack(commit), ref, commit)
        return ref

    @property
    def _what(self) -> str:
        return f"what {self._place.origin.model} changed"

    def _git(self, *words: str) -> str:
        return shlex.join(("git", "-C", self._place.repository.top, *words))


def _fill(place: Place, names: list[bytes], stop: Any) -> None:
    """Copy the user's files, and make the git directory through which commands see the repository.

    It has a HEAD and an index of its own, and shares everything else (gitrepository-layout: `commondir`).
    """
    repository, view = place.repository, place.tree / ".git"
    view.mkdir(parents=True)
    (view / "HEAD").write_text(f"{repository.head or 'ref: refs/heads/hyperguild-attempt'}\n")
    (view / "commondir").write_bytes(os.fsencode(f"{repository.common}\n"))
    copy_index(repository, view)
    copy_files(Path(repository.top), place.tree, names, stop)


def _less(names: list[bytes], top: Path, folder: Path) -> list[bytes]:
    """Leave out what is in the folder of the worktrees, which may be in the repository."""
    folder = folder.resolve()
    if not folder.is_relative_to(top):
        return names
    inside = os.fsencode(folder.relative_to(top)) + b"/"
    return [name for name in names if not name.startswith(inside)]


def _moved(order: WorkOrder, repository: Repository, tree: Path) -> WorkOrder:
    """Return the order for the worktree: folders of the repository become the worktree's."""

    def moved(path: Path) -> Path:
        if not path.is_relative_to(repository.top):
            return path
        there = tree / path.relative_to(repository.top)
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)  # an empty folder, or one that git ignores
        return there

    readable = (*order.readable, tree, Path(repository.common))
    allowed = tuple(moved(path) for path in order.allow_paths)
    kept = tuple(moved(path) for path in order.kept)
    return replace(order, folder=moved(order.folder), allow_paths=allowed, readable=readable, kept=kept)


def _require_room(tree: Path, top: Path, names: list[bytes]) -> None:
    """Raise `GitError` where a file is to take the place of a folder that holds more than what goes with it.

    `git apply --check` looks at what git knows, which files that are ignored are not.
    """
    source, target, going = os.fsencode(tree), os.fsencode(top), set(names)
    for name in names:
        there = target + b"/" + name
        if _is_folder(source + b"/" + name) or not os.path.lexists(source + b"/" + name):
            continue
        if not _is_folder(there):
            continue
        for held in _leaves(there):
            if held.removeprefix(target + b"/") not in going:
                raise GitError(f"{os.fsdecode(name)} is a folder that holds {os.fsdecode(held)}")


def _leaves(folder: bytes) -> Iterator[bytes]:
    """Yield the files, links and empty folders in a folder."""
    for parent, folders, files in os.walk(folder):
        yield from (parent + b"/" + name for name in files)
        yield from (link for name in folders if os.path.islink(link := parent + b"/" + name))  # noqa: PTH114
        if not folders and not files:
            yield parent


def _is_folder(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114  # bytes


def _give_permissions(tree: Path, top: Path, names: list[bytes]) -> None:
    """Give changed files the permissions that they have in the worktree; git knows only whether one runs."""
    source, target = os.fsencode(tree), os.fsencode(top)
    for name in names:
        with contextlib.suppress(OSError):  # it was deleted, or the user has been quicker
            status = os.lstat(source + b"/" + name)
            there = target + b"/" + name
            if stat.S_ISREG(status.st_mode) and stat.S_ISREG(os.lstat(there).st_mode):
                os.chmod(there, stat.S_IMODE(status.st_mode) & 0o777)  # noqa: PTH101  # bytes
