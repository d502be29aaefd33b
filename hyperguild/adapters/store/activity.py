"""What happened in the log since somebody last looked, whichever process did it.

Rows are only ever added at the end of runs, attempts and steps, so the highest rowid of each tells what is
new; that a run ended shows by its not being among those under way any more. Looking takes microseconds where
nothing happened. Everything here runs in the store's thread, in a transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from hyperguild.domain.review import Activity, Mark

_UNDER_WAY = "SELECT * FROM runs WHERE status = 'running' ORDER BY rowid"
_AT_ONCE = 500
"""Runs that one query asks about: SQLite bounds the values of a query."""


def read_activity(
    connection: sqlite3.Connection, since: Mark | None, is_under_way: Callable[[sqlite3.Row], bool]
) -> Activity:
    """Return what happened since the mark; None begins now, with what is under way as `started`.

    `is_under_way` tells of a run that is on record as running whether its process is still there. A run that
    is continued is `started` again. What was deleted meanwhile is left out.
    """
    running = {row["run_id"] for row in connection.execute(_UNDER_WAY) if is_under_way(row)}
    seen = since or Mark(run=0, attempt=0, step=0, running=frozenset())
    mark = Mark(
        run=_highest(connection, "runs"),
        attempt=_highest(connection, "attempts"),
        step=_highest(connection, "steps"),
        running=frozenset(running),
    )
    if since is None:
        return Activity(mark, started=_oldest_first(connection, running))
    if mark == seen:
        return Activity(mark)
    begun = _new_in(connection, "runs", seen.run) | (running - seen.running)
    progressed = _new_in(connection, "attempts", seen.attempt) | _new_in(connection, "steps", seen.step)
    # Only a run that is under way has new steps and attempts: one that is not any more ended since the mark.
    ended = (begun | progressed | seen.running) - running
    return Activity(
        mark,
        started=_oldest_first(connection, begun),
        progressed=_oldest_first(connection, progressed),
        ended=_oldest_first(connection, ended),
    )


def _highest(connection: sqlite3.Connection, table: str) -> int:
    (highest,) = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()  # noqa: S608 - ours
    return highest or 0


def _new_in(connection: sqlite3.Connection, table: str, seen: int) -> set[str]:
    # Not DISTINCT: for that SQLite would go through a whole index.
    query = f"SELECT run_id FROM {table} WHERE rowid > ?"  # noqa: S608 - our own names
    return {run_id for (run_id,) in connection.execute(query, (seen,))}


def _oldest_first(connection: sqlite3.Connection, run_ids: Iterable[str]) -> tuple[str, ...]:
    wanted = list(run_ids)
    found: list[tuple[int, str]] = []
    for at in range(0, len(wanted), _AT_ONCE):
        part = wanted[at : at + _AT_ONCE]
        places = ", ".join("?" * len(part))
        # Only the number of places is put in.
        query = f"SELECT rowid, run_id FROM runs WHERE run_id IN ({places})"  # noqa: S608 - see above
        found += [(rowid, run_id) for rowid, run_id in connection.execute(query, part)]
    return tuple(run_id for _, run_id in sorted(found))
