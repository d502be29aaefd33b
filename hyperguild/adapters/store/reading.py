"""Reads runs and sessions from the log, for whoever holds a connection to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hyperguild.adapters.store.liveness import ProcessId
from hyperguild.adapters.store.rows import read_run, to_time
from hyperguild.domain.records import SessionSummary, StoredRun
from hyperguild.domain.usage import total_cost_usd
from hyperguild.errors import StoreError
from hyperguild.ports import Clock

T = TypeVar("T")

RUNS_OF_SESSION = "SELECT * FROM runs WHERE session_id = ? ORDER BY created_at, rowid"
_SUMMED_UP = (
    "SELECT skill, status, cost_usd, lease_expires_at, pid, host, process_started FROM runs"
    # The totals of a run include those that it delegated.
    " WHERE session_id = ? AND parent_run_id IS NULL ORDER BY created_at, rowid"
)


class LogReader:
    """Makes records of the rows of the log at `path`. Methods block, and raise `StoreError`.

    A run counts as interrupted when its lease has run out, or when its process is seen to be gone.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    def status(self, row: sqlite3.Row) -> str:
        """Return the status that a run has now, from its row: interrupted where its process died."""
        if row["status"] != "running":
            return str(row["status"])
        expired = row["lease_expires_at"] < to_time(self._clock.now())
        return "interrupted" if expired or _is_gone(row) else "running"

    def dead_runs(self, connection: sqlite3.Connection) -> list[str]:
        """Return the runs that are `running` by their rows, while their process is gone."""
        rows = connection.execute("SELECT * FROM runs WHERE status = 'running'").fetchall()
        return [row["run_id"] for row in rows if self.status(row) == "interrupted"]

    def run(self, connection: sqlite3.Connection, run_id: str) -> StoredRun | None:
        """Return one run with attempts and steps, or None."""
        row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else self.stored_run(connection, row)

    def session_runs(self, connection: sqlite3.Connection, session_id: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first."""
        rows = connection.execute(RUNS_OF_SESSION, (session_id,)).fetchall()
        return [self.stored_run(connection, row) for row in rows]

    def stored_run(self, connection: sqlite3.Connection, row: sqlite3.Row) -> StoredRun:
        """Return the run of a row, with attempts and steps."""
        attempts, steps = (
            connection.execute(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY rowid", (row["run_id"],))  # noqa: S608
            for table in ("attempts", "steps")
        )
        status, of_run = self.status(row), (attempts.fetchall(), steps.fetchall())
        return self.readable(lambda: read_run(row, status, *of_run), f"run {row['run_id']}")

    def summary(self, connection: sqlite3.Connection, session: sqlite3.Row) -> SessionSummary:
        """Return what a listing shows of a session, of its row."""
        runs: Sequence[sqlite3.Row] = connection.execute(_SUMMED_UP, (session["session_id"],)).fetchall()
        fields: dict[str, Any] = {
            **{name: session[name] for name in ("session_id", "created_at", "title")},
            "runs": len(runs),
            "skills": tuple(dict.fromkeys(run["skill"] for run in runs)),
            "statuses": tuple(self.status(run) for run in runs),
            "cost_usd": total_cost_usd([run["cost_usd"] for run in runs]),
        }
        return self.readable(lambda: SessionSummary(**fields), f"session {session['session_id']}")

    def readable(self, build: Callable[[], T], what: str) -> T:
        """Return what `build` makes of rows; say which record makes no sense where it cannot."""
        try:
            return build()
        except ValueError as error:
            raise StoreError(
                f"the session log {self._path} holds a {what} that cannot be read",
                hint="was the file edited with another tool?",
            ) from error


def _is_gone(row: sqlite3.Row) -> bool:
    if row["pid"] is None or row["host"] is None:
        return False
    return ProcessId(pid=row["pid"], host=row["host"], started=row["process_started"]).is_gone()
