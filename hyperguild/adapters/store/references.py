"""Finds the run, session or attempt that `last`, an id or the end of one means."""

from __future__ import annotations

import sqlite3

from hyperguild.errors import UsageError

LAST = "last"
SHORTEST_SUFFIX = 4
"""Characters. Fewer fit too many ids by chance."""

_SHOWN = 5
_NEWEST_FIRST = (
    "SELECT run_id, session_id, skill, created_at FROM runs {} ORDER BY created_at DESC, rowid DESC"
)
_ENDS_IN_IT = "IN (SELECT {1} FROM {0} WHERE substr({1}, -length(?)) = ?)"
"""Looks through the index of the ids; the rows themselves are long."""


def find_run(connection: sqlite3.Connection, reference: str) -> str:
    """Return the id of the run that is meant. Raises `UsageError` where none or several fit."""
    rows = _runs(connection, reference)
    return str(_only(reference, "run", [(row["run_id"], row) for row in rows]))


def find_session(connection: sqlite3.Connection, reference: str) -> str:
    """Return the id of the session that is meant, also by one of its runs.

    `last` is the session of the newest run. Raises `UsageError` where none or several fit.
    """
    exact = connection.execute("SELECT 1 FROM sessions WHERE session_id = ?", (reference,)).fetchone()
    if exact is not None:
        return reference
    rows = _runs(connection, reference)
    if not any(row["run_id"] == reference for row in rows) and _is_suffix(reference):
        ends_in = _NEWEST_FIRST.format(f"WHERE session_id {_ENDS_IN_IT.format('sessions', 'session_id')}")
        rows += connection.execute(ends_in, (reference, reference)).fetchall()
    return str(_only(reference, "session", [(row["session_id"], row) for row in rows]))


def find_attempt(connection: sqlite3.Connection, reference: str) -> str:
    """Return the id of the attempt that is meant, by its id, the end of it, or as the Nth of a run: `RUN:N`.

    A run alone (`last` too) means its best attempt, else its last. Raises `UsageError` where none or several
    fit.
    """
    run_reference, colon, number = reference.rpartition(":")
    if colon:
        return _nth(_of_run(connection, find_run(connection, run_reference)), number, reference)
    found = _attempts(connection, "= ?", reference)
    if not found:
        runs = _runs(connection, reference)
        if _is_suffix(reference) and not any(row["run_id"] == reference for row in runs):
            found = _attempts(connection, _ENDS_IN_IT.format("attempts", "attempt_id"), reference, reference)
        if len(runs) == 1 and not found:
            return _best(connection, runs[0]["run_id"])
        found += [row for run in runs for row in _of_run(connection, run["run_id"])[-1:]]
    return str(_only(reference, "attempt", [(row["attempt_id"], row) for row in found]))


def _attempts(connection: sqlite3.Connection, condition: str, *values: str) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT attempt_id, skill, run_created_at AS created_at FROM attempts"  # noqa: S608  # a condition of ours
        f" WHERE attempt_id {condition} ORDER BY run_created_at DESC",
        values,
    ).fetchall()


def _of_run(connection: sqlite3.Connection, run_id: str) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT attempt_id, skill, run_created_at AS created_at FROM attempts"
        " WHERE run_id = ? ORDER BY rowid",
        (run_id,),
    ).fetchall()


def _best(connection: sqlite3.Connection, run_id: str) -> str:
    row = connection.execute("SELECT best_attempt_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    attempts = [attempt["attempt_id"] for attempt in _of_run(connection, run_id)]
    if not attempts:
        raise UsageError(
            f"the run {run_id} has no attempt on record", hint="it was ended before one was done"
        )
    return str(row["best_attempt_id"] if row["best_attempt_id"] in attempts else attempts[-1])


def _nth(attempts: list[sqlite3.Row], number: str, reference: str) -> str:
    if number.isascii() and number.isdigit() and 1 <= int(number) <= len(attempts):
        return str(attempts[int(number) - 1]["attempt_id"])
    raise UsageError(
        f"no attempt {reference!r}", hint=f"the run has {len(attempts)}, counted from 1" if attempts else None
    )


def _is_suffix(reference: str) -> bool:
    return reference != LAST and len(reference) >= SHORTEST_SUFFIX


def _runs(connection: sqlite3.Connection, reference: str) -> list[sqlite3.Row]:
    if reference == LAST:
        return connection.execute(f"{_NEWEST_FIRST.format('WHERE parent_run_id IS NULL')} LIMIT 1").fetchall()
    exact = connection.execute(_NEWEST_FIRST.format("WHERE run_id = ?"), (reference,)).fetchall()
    if exact or not _is_suffix(reference):
        return exact
    ends_in = _NEWEST_FIRST.format(f"WHERE run_id {_ENDS_IN_IT.format('runs', 'run_id')}")
    return connection.execute(ends_in, (reference, reference)).fetchall()


def _only(reference: str, noun: str, found: list[tuple[str, sqlite3.Row]]) -> str:
    candidates = dict(reversed(found))
    if len(candidates) == 1:
        return next(iter(candidates))
    if not candidates:
        raise _nothing_fits(reference, noun)
    newest = sorted(candidates.items(), key=lambda item: str(item[1]["created_at"]), reverse=True)
    shown = [f"{name} ({row['skill']}, {row['created_at']})" for name, row in newest[:_SHOWN]]
    more = f" and {len(newest) - _SHOWN} more" if len(newest) > _SHOWN else ""
    raise UsageError(
        f"{len(candidates)} {noun}s end in {reference!r}", hint=f"one of: {'; '.join(shown)}{more}"
    )


def _nothing_fits(reference: str, noun: str) -> UsageError:
    if reference == LAST:
        return UsageError("the session log holds no run yet", hint="`hyperguild run` makes one")
    if len(reference) < SHORTEST_SUFFIX:
        return UsageError(
            f"no {noun} {reference!r}",
            hint=f"give at least {SHORTEST_SUFFIX} characters of the end of its id",
        )
    return UsageError(
        f"no {noun} {reference!r} in the session log", hint="`hyperguild sessions list` shows them"
    )
