"""Reads the session log for the commands that show it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.options import Settings
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import SessionSummary, StoredRun
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import UsageError
from hyperguild.ports import SessionStore

EVERY = 2**62
"""More sessions than there will ever be; SQLite's LIMIT takes up to 2**63 - 1."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What an id meant: a session with all its runs, oldest first, and those of them to show.

    A run that is shown brings those that it delegated.
    """

    session_id: str
    runs: tuple[StoredRun, ...]
    shown: tuple[StoredRun, ...]

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
    if not _is_there(path):
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


async def newest_sessions(settings: Settings, limit: int) -> list[SessionSummary]:
    """Return the newest sessions, newest first; none where there is no log yet."""
    if not _is_there(settings.db_file()):
        return []
    async with open_log(settings) as store:
        return await store.sessions(limit=limit)


async def selected(settings: Settings, reference: str) -> Selection:
    """Return what `reference` means: an id of a session or run, the end of one, or `last`."""
    async with open_log(settings) as store:
        return await _select(store, reference)


async def runs_of(settings: Settings, references: Sequence[str]) -> AsyncGenerator[StoredRun, None]:
    """Yield the runs that are meant, each once, in the order asked for."""
    async with open_log(settings) as store:
        seen: set[str] = set()
        # All ids are looked up before anything is yielded: a wrong one leaves no half an export behind.
        for selection in [await _select(store, reference) for reference in references]:
            for stored in selection.shown:
                if stored.result.run_id not in seen:
                    seen.add(stored.result.run_id)
                    yield stored


async def every_run(settings: Settings) -> AsyncGenerator[StoredRun, None]:
    """Yield every run, session by session, oldest first."""
    if not _is_there(settings.db_file()):
        return
    async with open_log(settings) as store:
        for session in reversed(await store.sessions(limit=EVERY)):
            for stored in await store.session_runs(session.session_id):
                yield stored


def run_object(stored: StoredRun) -> dict[str, Any]:
    """Return a run as JSON: the result object, then task, images, created_at, finished_at and steps."""
    return stored.result.model_dump(mode="json") | stored.model_dump(mode="json", exclude={"result"})


def session_object(selection: Selection) -> dict[str, Any]:
    """Return what `sessions show --json` prints: session_id, created_at, and the runs that are shown."""
    first = selection.runs[0] if selection.runs else None
    return {
        "session_id": selection.session_id,
        "created_at": None if first is None else first.model_dump(mode="json")["created_at"],
        "runs": [run_object(stored) for stored in selection.shown],
    }


async def _select(store: SessionStore, reference: str) -> Selection:
    session_id = await store.resolve_session(reference)
    runs = tuple(await store.session_runs(session_id))
    return Selection(session_id, runs, chosen_runs(runs, session_id, reference))


def chosen_runs(runs: Sequence[StoredRun], session_id: str, reference: str) -> tuple[StoredRun, ...]:
    """Return the runs that `reference` names; all of them where it names their session."""
    named = {run.result.run_id for run in runs if run.result.run_id.endswith(reference)}
    if not named or session_id.endswith(reference):
        return tuple(runs)
    return tuple(run for run in runs if run.result.run_id in named or run.parent_run_id in named)


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # It cannot be looked at: opening it says why.
        return True
