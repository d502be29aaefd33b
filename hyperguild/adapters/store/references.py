"""Finds the run or session that `last`, an id or the end of one means."""

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
_ENDS_IN = "WHERE substr({0}, -length(?)) = ?"


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
        ends_in = _NEWEST_FIRST.format(_ENDS_IN.format("session_id"))
        rows += connection.execute(ends_in, (reference, reference)).fetchall()
    return str(_only(reference, "session", [(row["session_id"], row) for row in rows]))


def _is_suffix(reference: str) -> bool:
    return reference != LAST and len(reference) >= SHORTEST_SUFFIX


def _runs(connection: sqlite3.Connection, reference: str) -> list[sqlite3.Row]:
    if reference == LAST:
        return connection.execute(f"{_NEWEST_FIRST.format('WHERE parent_run_id IS NULL')} LIMIT 1").fetchall()
    exact = connection.execute(_NEWEST_FIRST.format("WHERE run_id = ?"), (reference,)).fetchall()
    if exact or not _is_suffix(reference):
        return exact
    ends_in = _NEWEST_FIRST.format(_ENDS_IN.format("run_id"))
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
