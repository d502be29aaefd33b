"""Worktrees over real repositories in tests."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.tools.places import Origin
from hyperguild.adapters.tools.worktree import Worktrees
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.ids import Uuid7Source

ORIGIN = Origin("mend", "phi4", "a-session")
REFS = "refs/hyperguild/attempts/"


@dataclass
class ShiftedClock(SystemClock):
    """The time of day is moved by so many seconds."""

    shift_s: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.shift_s, UTC)


@dataclass
class Repo:
    """A repository of a user, and where the worktrees of its attempts are."""

    top: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    clock: ShiftedClock = field(default_factory=ShiftedClock)

    @property
    def worktrees(self) -> Worktrees:
        ids = Uuid7Source(lambda: int(self.clock.now().timestamp() * 1000), os.urandom)
        return Worktrees(self.env, self.state, self.clock, ids)

    @property
    def order(self) -> WorkOrder:
        return WorkOrder(self.top)

    def git(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        whole = {**self.env, **(env or {})}
        done = subprocess.run(["git", *arguments], cwd=self.top, env=whole, capture_output=True, check=True)
        return os.fsdecode(done.stdout)

    def write(self, name: str, content: str | bytes = "text\n") -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "a commit")

    def kept(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", REFS).split()

    def places(self) -> list[Path]:
        return sorted(self.state.iterdir()) if self.state.is_dir() else []

    def own_state(self) -> tuple[str | bytes, ...]:
        """What an attempt must never change: HEAD, refs but its own, the list of worktrees, the index."""
        refs = self.git("for-each-ref").splitlines()
        return (
            (self.top / ".git" / "HEAD").read_bytes(),
            "\n".join(line for line in refs if REFS not in line),
            self.git("worktree", "list"),
            (self.top / ".git" / "index").read_bytes(),
            self.git("status", "--porcelain"),
        )


def new_repo(folder: Path) -> Repo:
    top = folder / "repo"
    top.mkdir(parents=True)
    home = folder / "home"
    home.mkdir()
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    repo = Repo(top.resolve(), folder / "state" / "worktrees", env)
    repo.git("init", "-q", "-b", "main")
    repo.git("config", "user.name", "A User")
    repo.git("config", "user.email", "user@example.com")
    return repo


def listing(folder: Path) -> dict[bytes, tuple[str, bytes]]:
    """Everything below a folder but git's own: kind and permissions, and content or target."""
    found: dict[bytes, tuple[str, bytes]] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_symlink():
            found[bytes(name)] = ("link", bytes(path.readlink()))
        elif path.is_file() and name.parts[0] != ".git":
            found[bytes(name)] = (f"{path.stat().st_mode & 0o777:o}", path.read_bytes())
    return found
