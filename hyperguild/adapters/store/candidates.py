"""Where to look for runs and attempts that may fit a filter: by the index that has the fewest of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice

from hyperguild.adapters.store.cursors import Key
from hyperguild.adapters.store.rows import to_time
from hyperguild.adapters.store.streams import ATTEMPTS, RUNS, Range, descending, newest_first
from hyperguild.domain.review import ReviewFilter

FEW = 300
"""So many candidates are all looked at, whichever of them fit: milliseconds."""

_RUN_KEYS = ("created_at", "run_id")


def within(wanted: ReviewFilter, after: Key | None = None) -> Range:
    """Return the times that are wanted, beginning after a key."""
    since, until = (None if at is None else to_time(at) for at in (wanted.since, wanted.until))
    return Range(after, since, until)


def concerns_attempts(wanted: ReviewFilter) -> bool:
    """Tell whether the filter asks something of attempts, not of runs alone."""
    return bool(wanted.models or wanted.tiers or wanted.verdicts or wanted.labels)


def runs(connection: sqlite3.Connection, wanted: ReviewFilter, after: Key | None = None) -> Iterator[Key]:
    """Yield (created_at, run_id) of runs that may fit, the text aside, newest first, each once."""

    def by_attempts() -> Iterator[Key]:
        previous = None
        for at, run_id, _ in _listed_attempts(connection, wanted, within(wanted, after and (*after, 0))):
            if run_id != previous:
                yield at, run_id
            previous = run_id

    def by_runs() -> Iterator[Key]:
        return _listed_runs(connection, wanted, within(wanted, after))

    if not concerns_attempts(wanted):
        return by_runs()
    return _the_rarer(by_runs, by_attempts) if _narrows_runs(wanted) else by_attempts()


def attempts(connection: sqlite3.Connection, wanted: ReviewFilter, after: Key | None = None) -> Iterator[Key]:
    """Yield (run_created_at, run_id, rowid) of attempts that may fit, the text aside, newest first.

    They are sorted by their run, within one by when they were recorded.
    """

    def by_attempts() -> Iterator[Key]:
        return _listed_attempts(connection, wanted, within(wanted, after))

    def by_runs() -> Iterator[Key]:
        # The run of the last attempt is not done yet.
        start = None if after is None else (after[0], after[1] + "\0")
        for at, run_id in _listed_runs(connection, wanted, within(wanted, start)):
            for (rowid,) in connection.execute(
                "SELECT rowid FROM attempts WHERE run_id = ? ORDER BY rowid DESC", (run_id,)
            ).fetchall():
                if after is None or (at, run_id, rowid) < after:
                    yield at, run_id, rowid

    return _the_rarer(by_runs, by_attempts) if _narrows_runs(wanted) else by_attempts()


def few_texts(connection: sqlite3.Connection, wanted: ReviewFilter) -> list[int] | None:
    """Return the texts of runs that may fit, newest first, where these are few; else None."""
    if not concerns_attempts(wanted) and not _narrows_runs(wanted):
        return None
    keys = _few(lambda: runs(connection, wanted))
    if keys is None:
        return None
    ids = json.dumps([run_id for _, run_id in keys])
    found = connection.execute(
        "SELECT text_id FROM runs WHERE run_id IN (SELECT value FROM json_each(?1)) AND text_id IS NOT NULL"
        " UNION ALL SELECT text_id FROM attempts WHERE run_id IN (SELECT value FROM json_each(?1))"
        " AND text_id IS NOT NULL ORDER BY text_id DESC",
        (ids,),
    )
    return [text_id for (text_id,) in found]


def _few(keys: Callable[[], Iterator[Key]]) -> list[Key] | None:
    found = list(islice(keys(), FEW + 1))
    return found if len(found) <= FEW else None


def _the_rarer(one: Callable[[], Iterator[Key]], other: Callable[[], Iterator[Key]]) -> Iterator[Key]:
    found = _few(one)
    return other() if found is None else iter(found)


def _narrows_runs(wanted: ReviewFilter) -> bool:
    return bool(wanted.statuses) or wanted.session_id is not None


def _listed_runs(connection: sqlite3.Connection, wanted: ReviewFilter, times: Range) -> Iterator[Key]:
    if wanted.session_id is not None:
        query = f"SELECT {', '.join(_RUN_KEYS)} FROM runs INDEXED BY runs_session_id WHERE session_id = ?"  # noqa: S608
        return descending(connection, query, (wanted.session_id,), _RUN_KEYS, times)
    statuses = set(wanted.statuses)
    if "interrupted" in statuses:
        statuses.add("running")  # by its row
    return newest_first(connection, RUNS, (wanted.skills, wanted.chains, sorted(statuses)), times)


def _listed_attempts(connection: sqlite3.Connection, wanted: ReviewFilter, times: Range) -> Iterator[Key]:
    labels = [None if label == "none" else label for label in wanted.labels]
    values = (wanted.skills, wanted.chains, wanted.models, wanted.tiers, wanted.verdicts, labels)
    return newest_first(connection, ATTEMPTS, values, times)
