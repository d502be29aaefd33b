"""Deletes old runs, and all that belongs to them, in batches: who writes meanwhile waits for one at most.

What is deleted is overwritten, in the file and in its write-ahead log. The file keeps its size: the room is
used again by what is logged next. To give it back, SQLite would have to write the whole file anew, and no run
could be recorded meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hyperguild.adapters.store.rows import title_of, to_time
from hyperguild.adapters.store.search_index import note_deleted, purge
from hyperguild.adapters.store.thread import StoreThread
from hyperguild.domain.review import Pruned
from hyperguild.ports import Clock

BATCH = 100
"""Runs whose lot is decided at once. With their attempts and steps that takes some tens of milliseconds."""

PURGE_S = 0.05
"""For how long words of deleted texts are overwritten at a time."""

IsUnderWay = Callable[[sqlite3.Row], bool]

_RUNS = (
    "SELECT run_id, session_id, skill, created_at, status, lease_expires_at, pid, host, process_started"
    " FROM runs WHERE "
)
_HEADS = (
    _RUNS + "created_at < :before AND (created_at, run_id) > (:at, :run_id)"  # noqa: S608 - constants
    # A delegated run goes with its parent; one whose parent is lost is on its own.
    " AND (parent_run_id IS NULL"
    "  OR NOT EXISTS (SELECT 1 FROM runs AS parents WHERE parents.run_id = runs.parent_run_id))"
    " ORDER BY created_at, run_id LIMIT :batch"
)
_DELEGATED = _RUNS + "session_id = ? AND parent_run_id = ?"  # it is of its parent's session: see the indexes
_FIRST_OF_SESSION = "SELECT task FROM runs WHERE session_id = ? ORDER BY created_at, rowid LIMIT 1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs go: those that began before, of these skills (none: of all).

    With `keep_labelled` those stay of which an attempt is labelled, or one of what they delegated.
    """

    before: datetime
    keep_labelled: bool
    skills: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Tally:
    """What was found by now. `at` is the last run that was looked at, as it is sorted."""

    at: tuple[str, str] = ("", "")
    runs: int = 0
    attempts: int = 0
    kept: int = 0
    sessions: int = 0
    of_sessions: Counter[str] = field(default_factory=Counter)


async def count_prunable(thread: StoreThread, wanted: Wanted, is_under_way: IsUnderWay) -> Pruned:
    """Return what `prune` would delete, if it were called now; nothing is changed. Raises `StoreError`."""

    def work(connection: sqlite3.Connection) -> _Tally:
        tally = _Tally()
        while _one_batch(connection, wanted, is_under_way, tally) is not None:
            pass
        tally.sessions = sum(
            number == _runs_in(connection, session_id) for session_id, number in tally.of_sessions.items()
        )
        return tally

    return _told(await thread.read(work), dry_run=True)


async def prune(thread: StoreThread, wanted: Wanted, is_under_way: IsUnderWay, clock: Clock) -> Pruned:
    """Delete the runs that are wanted, oldest first. Raises `StoreError`.

    After each batch it waits as long as that took, so that others get to write. Cancelled, or
    killed, it leaves whole runs.
    """
    tally = _Tally()

    def work(connection: sqlite3.Connection) -> bool:
        doomed = _one_batch(connection, wanted, is_under_way, tally)
        if doomed:
            connection.executemany("DELETE FROM runs WHERE run_id = ?", [(row["run_id"],) for row in doomed])
            for session_id in dict.fromkeys(row["session_id"] for row in doomed):
                tally.sessions += not settle_session(connection, session_id)
            note_deleted(connection)
        return doomed is None

    def overwrite_words(connection: sqlite3.Connection) -> bool:
        ends_at = clock.monotonic() + PURGE_S
        return purge(connection, lambda: clock.monotonic() > ends_at)

    for step in (work, overwrite_words):
        done = False
        while not done:
            began = clock.monotonic()
            done = await thread.write(step)
            await clock.sleep(clock.monotonic() - began)
    if tally.runs:
        await thread.empty_log()
    return _told(tally, dry_run=False)


def settle_session(connection: sqlite3.Connection, session_id: str) -> bool:
    """Make a session fit the runs that are left of it, its title among that; delete it where none is.

    Return whether it is still there.
    """
    first = connection.execute(_FIRST_OF_SESSION, (session_id,)).fetchone()
    if first is None:
        connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))
        return False
    connection.execute(
        "UPDATE sessions SET title = :title, newest_run_id ="
        " (SELECT max(run_id) FROM runs WHERE session_id = :session_id) WHERE session_id = :session_id",
        {"title": title_of(first["task"]), "session_id": session_id},
    )
    return True


def _one_batch(
    connection: sqlite3.Connection, wanted: Wanted, is_under_way: IsUnderWay, tally: _Tally
) -> list[sqlite3.Row] | None:
    """Return the next runs that go, with all that they delegated; None where no more are old enough."""
    at, run_id = tally.at
    heads = connection.execute(
        _HEADS, {"before": to_time(wanted.before), "at": at, "run_id": run_id, "batch": BATCH}
    ).fetchall()
    if not heads:
        return None
    tally.at = (heads[-1]["created_at"], heads[-1]["run_id"])
    doomed: list[sqlite3.Row] = []
    for head in heads:
        if wanted.skills and head["skill"] not in wanted.skills:
            continue
        tree = _with_delegated(connection, head)
        if any(is_under_way(row) for row in tree) or (
            wanted.keep_labelled and _is_labelled(connection, tree)
        ):
            tally.kept += len(tree)
        else:
            doomed += tree
    tally.runs += len(doomed)
    tally.attempts += sum(_attempts_of(connection, row["run_id"]) for row in doomed)
    tally.of_sessions.update(row["session_id"] for row in doomed)
    return doomed


def _with_delegated(connection: sqlite3.Connection, head: sqlite3.Row) -> list[sqlite3.Row]:
    tree = [head]
    for row in tree:  # it grows meanwhile: what was delegated may delegate
        tree += connection.execute(_DELEGATED, (row["session_id"], row["run_id"])).fetchall()
    return tree


def _is_labelled(connection: sqlite3.Connection, tree: Sequence[sqlite3.Row]) -> bool:
    query = "SELECT 1 FROM attempts WHERE run_id = ? AND label IS NOT NULL"
    return any(connection.execute(query, (row["run_id"],)).fetchone() for row in tree)


def _attempts_of(connection: sqlite3.Connection, run_id: str) -> int:
    (number,) = connection.execute("SELECT count(*) FROM attempts WHERE run_id = ?", (run_id,)).fetchone()
    return int(number)


def _runs_in(connection: sqlite3.Connection, session_id: str) -> int:
    (number,) = connection.execute("SELECT count(*) FROM runs WHERE session_id = ?", (session_id,)).fetchone()
    return int(number)


def _told(tally: _Tally, *, dry_run: bool) -> Pruned:
    return Pruned(
        runs=tally.runs,
        attempts=tally.attempts,
        sessions=tally.sessions,
        kept=tally.kept,
        dry_run=dry_run,
    )
