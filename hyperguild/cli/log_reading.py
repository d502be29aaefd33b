"""Reads the session log for the commands that show it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.options import Settings
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import StoredRun
from hyperguild.domain.review import Label
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import UsageError
from hyperguild.ports import SessionStore


@dataclass(frozen=True, slots=True)
class Selection:
    """What an id meant: a session with all its runs, oldest first, and those of them to show.

    A run that is shown brings those that it delegated. `labels` are all that was ever said of the attempts
    that are shown, by attempt id, oldest first.
    """

    session_id: str
    runs: tuple[StoredRun, ...]
    shown: tuple[StoredRun, ...]
    labels: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)

    @property
    def own(self) -> tuple[StoredRun, ...]:
        """The runs of the session that no other run delegated."""
        return tuple(run for run in self.runs if run.parent_run_id is None)

    @property
    def heads(self) -> tuple[StoredRun, ...]:
        """Those to show in full: each but the delegated ones whose parent is shown, too."""
        ids = {run.result.run_id for run in self.shown}
        return tuple(run for run in self.shown if run.parent_run_id not in ids)

    def delegated_by(self, run: StoredRun) -> tuple[StoredRun, ...]:
        """Return the runs that this one delegated, oldest first."""
        return tuple(one for one in self.runs if one.parent_run_id == run.result.run_id)


def existing_log(settings: Settings) -> Path:
    """Return the session log's file. Raises `UsageError` where there is none yet."""
    path = settings.db_file()
    if not is_there(path):
        raise UsageError(f"no session log yet at {path}", hint="`hyperguild run` makes it")
    return path


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncGenerator[SessionStore, None]:
    """Open the session log for reading. Raises `UsageError` where there is none yet, and `StoreError`."""
    store = await SqliteSessionStore.open(
        existing_log(settings), scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock(), read_only=True
    )
    try:
        yield store
    finally:
        await store.aclose()


def run_object(stored: StoredRun) -> dict[str, Any]:
    """Return a run as JSON: the result object, then task, images, created_at, finished_at and steps."""
    return stored.result.model_dump(mode="json") | stored.model_dump(mode="json", exclude={"result"})


def chosen_runs(runs: Sequence[StoredRun], session_id: str, reference: str) -> tuple[StoredRun, ...]:
    """Return the runs that `reference` names; all of them where it names their session."""
    named = {run.result.run_id for run in runs if run.result.run_id.endswith(reference)}
    if not named or session_id.endswith(reference):
        return tuple(runs)
    return tuple(run for run in runs if run.result.run_id in named or run.parent_run_id in named)


def is_there(path: Path) -> bool:
    """Tell whether there is a log. Where it cannot be looked at, there is one: opening it says why."""
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
