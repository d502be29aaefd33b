"""Where worktrees are: a folder for each, locked as long as the process lives that works in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hyperguild.adapters.tools.repository import Repository
from hyperguild.private_folder import make_private

_NEW, _GONE = ".new-", ".gone-"
"""How folders are named before they are locked, and while they are removed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The attempt that works in a worktree."""

    skill: str
    model: str
    session_id: str
    run_id: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines that name it in the message of a commit."""
        run = (f"Run: {self.run_id}",) if self.run_id else ()
        return (f"Skill: {self.skill}", f"Model: {self.model}", f"Session: {self.session_id}", *run)


class Place:
    """The folder of one worktree. Whoever has a `Place` holds its lock, until `remove` or `release`.

    The kernel gives the lock back when the process ends, however it ends.
    """

    def __init__(self, folder: Path, lock: int, repository: Repository, origin: Origin) -> None:
        self.folder = folder
        self.repository = repository
        self.origin = origin
        self._lock = lock

    @classmethod
    def make(cls, base: Path, name: str, repository: Repository, origin: Origin) -> Place:
        """Make a folder `name` below `base`. Others see it once it is locked. Raises `OSError`."""
        make_private(base)
        new, folder = base / f"{_NEW}{name}", base / name
        new.mkdir(mode=0o700)
        about = {"repository": asdict(repository), "origin": asdict(origin)}
        (new / "about.json").write_text(json.dumps(about), encoding="utf-8")
        lock = os.open(new / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder)
        return cls(folder, lock, repository, origin)

    @property
    def name(self) -> str:
        """The id of the worktree."""
        return self.folder.name

    @property
    def shadow(self) -> Path:
        """Our git directory for it."""
        return self.folder / "git"

    @property
    def tree(self) -> Path:
        """The worktree itself: named as the user's folder, for tools that take a project's name from it."""
        return self.folder / "tree" / (Path(self.repository.top).name or "root")

    @property
    def base(self) -> str | None:
        """The tree that the attempt began with; None until the worktree was filled."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "base").read_text(encoding="ascii")
        return None

    def begin(self, base: str) -> None:
        """Write down the tree that the attempt begins with. Raises `OSError`."""
        (self.folder / "base").write_text(base, encoding="ascii")

    def remove(self) -> None:
        """Remove all of it. What cannot be removed now is when the next worktree is made."""
        gone = self.folder.with_name(f"{_GONE}{self.folder.name}")
        with contextlib.suppress(OSError):
            self.folder.rename(gone)
            _remove(gone)
        self.release()

    def release(self) -> None:
        """Give the lock back and leave the folder to whoever makes the next worktree."""
        os.close(self._lock)


def abandoned(base: Path, repository: Repository) -> Iterator[Place]:
    """Take over, one by one, the places in that repository whose process has ended; remove other remains."""
    for folder in sorted(base.iterdir()) if base.is_dir() else ():
        if folder.name.startswith(_GONE):
            _remove(folder)
        elif not folder.name.startswith("."):
            place = _taken_over(folder)
            if place is None:
                continue
            if place.repository.common == repository.common:
                yield place
            elif os.path.isdir(place.repository.common):  # noqa: PTH112  # never raises
                place.release()
            else:  # nothing can be kept in a repository that is gone
                place.remove()


def _taken_over(folder: Path) -> Place | None:
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None  # just being removed, or none of ours
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        return Place(folder, lock, Repository(**about["repository"]), Origin(**about["origin"]))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # in use, removed meanwhile, or written by another version
        os.close(lock)
        return None


def _remove(folder: Path) -> None:
    """Remove a folder; a tool may have taken its own rights to do so away."""
    for parent, names, _ in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)
