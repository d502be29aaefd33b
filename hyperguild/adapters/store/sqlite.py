"""The session log in an SQLite file: `SessionStore` over one connection in one thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from hyperguild import __version__
from hyperguild.adapters.store.breakers import keep_breakers, read_breakers
from hyperguild.adapters.store.connection import open_for_reading, open_for_writing, transaction, translated
from hyperguild.adapters.store.ledger import SqliteLedger, insert, note_recorded, release, take_up
from hyperguild.adapters.store.liveness import ProcessId
from hyperguild.adapters.store.pruning import settle_session
from hyperguild.adapters.store.reading import LogReader
from hyperguild.adapters.store.references import find_run, find_session
from hyperguild.adapters.store.rows import (
    Row,
    RowWriter,
    read_usage,
    storable,
    to_json,
    to_time,
)
from hyperguild.adapters.store.search_index import note_deleted, purge
from hyperguild.adapters.store.thread import StoreThread
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.limits import Amount
from hyperguild.domain.records import RESUMABLE, Attempt, RunResult, RunStart, SessionSummary, Step, StoredRun
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import StoreError, UsageError
from hyperguild.ports import Clock

_LONGEST_DAYS = 365_000
"""A thousand years: what is asked for beyond leads to dates that cannot be written."""

_PURGE_S = 0.2
"""How long opening the log may take to overwrite words of deleted texts; the next opening goes on."""


class SqliteSessionStore:
    """The session log of contract, section 7; implements `ports.SessionStore`. Made by `open`.

    Every method is one transaction in the store's thread, and raises `StoreError`. A write that was asked for
    is carried out even when its caller is cancelled; `aclose` waits for it.

    A run counts as interrupted when its lease has run out, or when its process is seen to be gone; it is
    shown so at once, and marked so when the log is next opened for writing. `renew_lease` and `finish_run`
    take that mark back: a process may have been stopped for a while. Where the run goes on in another process
    by then, it is that one's: nothing more can be recorded of it from here (`StoreError`).
    """

    def __init__(self, path: Path, writer: RowWriter, clock: Clock, version: str) -> None:
        self._path = path
        self._writer = writer
        self._clock = clock
        self._version = version
        self._process = ProcessId.own()
        self._reader = LogReader(path, clock)
        self._thread = StoreThread(path, "session-log")
        self.ledger = SqliteLedger(self._thread.write, self._thread.read, clock)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        scrubber: Scrubber,
        log: LogPolicy,
        clock: Clock,
        version: str = __version__,
        read_only: bool = False,
    ) -> Self:
        """Open the log at `path`, for writing made and upgraded as needed; `version` is the program's.

        Opening for writing also marks interrupted runs and deletes those older than `log.keep_days`. Raises
        `StoreError` and `StoreVersionError`. Cancelled, it leaves nothing open.
        """
        store = cls(path, RowWriter(scrubber, log), clock, version)
        await store._thread.connect(store._connect_to_read if read_only else store._connect_to_write)
        return store

    async def start_run(self, run: RunStart) -> None:
        """Record a run as `running`, and its session where that is new."""
        await self._thread.write(lambda connection: self._start_run(connection, run))

    async def resume_run(self, run_id: str, lease_expires_at: datetime) -> None:
        """Record that a run which ended without an answer goes on, in this process. Raises `UsageError`."""
        await self._thread.write(lambda connection: self._resume_run(connection, run_id, lease_expires_at))

    async def record_step(self, run_id: str, step: Step) -> None:
        """Record a finished step of an attempt that goes on."""
        await self._thread.write(lambda connection: self._record_step(connection, run_id, step))

    async def record_attempt(self, run_id: str, attempt: Attempt, steps: Sequence[Step]) -> None:
        """Record a finished attempt with its last steps, and add it to the run's totals."""
        await self._thread.write(lambda connection: self._record_attempt(connection, run_id, attempt, steps))

    async def finish_run(self, result: RunResult, finished_at: datetime) -> None:
        """Record how the run ended; its attempts are recorded already."""

        def work(connection: sqlite3.Connection) -> None:
            self._require_own(connection, result.run_id)
            row = self._writer.result(result, finished_at)
            assignments = ", ".join(f"{column} = :{column}" for column in row)
            # Column names come from the record's fields, never from outside.
            statement = f"UPDATE runs SET {assignments} WHERE run_id = :run_id"  # noqa: S608 - see above
            changed = connection.execute(statement, storable(row | {"run_id": result.run_id})).rowcount
            self._require(changed, result.run_id)
            release(connection, result.run_id)
            note_recorded(connection, result.run_id)

        await self._thread.write(work)

    async def renew_lease(self, run_id: str, expires_at: datetime) -> None:
        """Say that the run's process is alive; nothing happens where the run has ended, or is another's."""

        def work(connection: sqlite3.Connection) -> None:
            process = self._process
            connection.execute(
                "UPDATE runs SET lease_expires_at = ?, status = 'running'"
                " WHERE run_id = ? AND finished_at IS NULL AND pid = ? AND host = ?",
                (to_time(expires_at), run_id, process.pid, process.host),
            )

        await self._thread.write(work)

    async def sessions(self, *, limit: int) -> list[SessionSummary]:
        """Return the sessions with the newest runs, newest first."""

        def work(connection: sqlite3.Connection) -> list[SessionSummary]:
            rows = connection.execute(
                "SELECT sessions.* FROM sessions JOIN"
                " (SELECT session_id, max(created_at) AS newest, max(rowid) AS latest FROM runs"
                "  GROUP BY session_id ORDER BY newest DESC, latest DESC LIMIT ?) USING (session_id)"
                " ORDER BY newest DESC, latest DESC",
                (limit,),
            ).fetchall()
            return [self._reader.summary(connection, row) for row in rows]

        return await self._thread.read(work)

    async def session_runs(self, session_id: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first."""
        return await self._thread.read(lambda connection: self._reader.session_runs(connection, session_id))

    async def run(self, run_id: str) -> StoredRun | None:
        """Return one run with attempts and steps, or None."""
        return await self._thread.read(lambda connection: self._reader.run(connection, run_id))

    async def resolve_session(self, reference: str) -> str:
        """Return the id of the session that an id, a suffix of its or a run's id, or `last` means.

        `last` is the session of the newest run; a suffix has at least 4 characters. Raises `UsageError`.
        """
        return await self._thread.read(lambda connection: find_session(connection, reference))

    async def resolve_run(self, reference: str) -> str:
        """Return the id of the run that an id, a suffix of at least 4 characters, or `last` means.

        Raises `UsageError`.
        """
        return await self._thread.read(lambda connection: find_run(connection, reference))

    async def breakers(self) -> list[BreakerRecord]:
        """Return the breakers that are kept, by endpoint and model."""
        return await self._thread.read(
            lambda connection: self._reader.readable(lambda: read_breakers(connection), "breaker")
        )

    async def keep_breakers(self, records: Sequence[BreakerRecord], gone: Sequence[str]) -> None:
        """Keep these breakers, and forget those whose keys are `gone`, and those of long ago."""
        rows = [self._writer.breaker(record) for record in records]
        await self._thread.write(lambda connection: keep_breakers(connection, rows, gone, self._clock.now()))

    async def aclose(self) -> None:
        """Close the database once all that was asked for is done. Safe to call twice, and when cancelled."""
        await self._thread.aclose()

    # From here on, everything runs in the store's thread.

    def _connect_to_read(self) -> sqlite3.Connection:
        return open_for_reading(self._path, program_version=self._version)

    def _connect_to_write(self) -> sqlite3.Connection:
        connection = open_for_writing(self._path, program_version=self._version)
        try:
            with translated(self._path), transaction(connection, "BEGIN IMMEDIATE"):
                self._tidy(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _tidy(self, connection: sqlite3.Connection) -> None:
        running = connection.execute("SELECT * FROM runs WHERE status = 'running'").fetchall()
        gone = [(row["run_id"],) for row in running if self._reader.status(row) == "interrupted"]
        connection.executemany("UPDATE runs SET status = 'interrupted' WHERE run_id = ?", gone)
        keep_days = self._writer.policy.keep_days
        if keep_days is not None:
            self._forget(
                connection, to_time(self._clock.now() - timedelta(days=min(keep_days, _LONGEST_DAYS)))
            )
        ends_at = self._clock.monotonic() + _PURGE_S
        purge(connection, lambda: self._clock.monotonic() > ends_at)

    def _forget(self, connection: sqlite3.Connection, oldest: str) -> None:
        expired = connection.execute(
            "SELECT DISTINCT session_id FROM runs WHERE created_at < ? AND status != 'running'", (oldest,)
        ).fetchall()
        connection.execute("DELETE FROM runs WHERE created_at < ? AND status != 'running'", (oldest,))
        connection.execute(
            "DELETE FROM runs WHERE parent_run_id IS NOT NULL AND status != 'running'"
            " AND parent_run_id NOT IN (SELECT run_id FROM runs)"
        )
        if expired:
            note_deleted(connection)
        for (session_id,) in expired:
            settle_session(connection, session_id)

    def _start_run(self, connection: sqlite3.Connection, run: RunStart) -> None:
        row = self._writer.run(run, self._process)
        connection.execute(
            "INSERT INTO sessions (session_id, created_at, title, newest_run_id)"
            " VALUES (:id, :at, :title, :run) ON CONFLICT (session_id)"
            " DO UPDATE SET newest_run_id = max(coalesce(newest_run_id, ''), :run)",
            storable(
                {
                    "id": run.session_id,
                    "at": row["created_at"],
                    "title": self._writer.title(run.task),
                    "run": run.run_id,
                }
            ),
        )
        _insert(connection, "runs", row)

    def _resume_run(self, connection: sqlite3.Connection, run_id: str, lease_expires_at: datetime) -> None:
        row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        self._require(row, run_id)
        status = self._reader.status(row)
        if status == "running":
            raise UsageError(
                f"the run {run_id} is under way in another process", hint="end that one first, or wait for it"
            )
        if status not in RESUMABLE:
            raise UsageError(f"the run {run_id} has ended: {status}", hint="`hyperguild rerun` runs it again")
        # A pause counts what its attempt has used so far, and the attempt will be counted when it ends.
        attempts = self._reader.stored_run(connection, row).result.attempts
        usage = sum((attempt.whole_usage for attempt in attempts), Usage())
        cost_usd = total_cost_usd(cost for attempt in attempts for cost in attempt.costs_usd)
        take_up(connection, run_id)
        paused = Amount(
            max((row["cost_usd"] or 0.0) - (cost_usd or 0.0), 0.0),
            max(read_usage(row["usage"]).tokens - usage.tokens, 0),
        )
        if paused != Amount():
            at = row["finished_at"] or to_time(self._clock.now())  # it counts for the day it was spent on
            row_of_pause = {"key": f"paused {run_id} {at}", "run": run_id, "at": at, "settled": True}
            insert(connection, row_of_pause, paused)
        process = self._process
        connection.execute(
            "UPDATE runs SET status = 'running', finished_at = NULL, pending_tool_calls = '[]', usage = ?,"
            " cost_usd = ?, lease_expires_at = ?, pid = ?, host = ?, process_started = ? WHERE run_id = ?",
            (
                to_json(usage.model_dump()),
                cost_usd,
                to_time(lease_expires_at),
                *(process.pid, process.host, process.started),
                run_id,
            ),
        )

    def _record_attempt(
        self, connection: sqlite3.Connection, run_id: str, attempt: Attempt, steps: Sequence[Step]
    ) -> None:
        self._require_own(connection, run_id)
        run = connection.execute(
            "SELECT usage, cost_usd, skill, chain, created_at FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        usage = read_usage(run["usage"]) + attempt.whole_usage
        cost_usd = total_cost_usd([run["cost_usd"], *attempt.costs_usd])
        connection.execute(
            "UPDATE runs SET usage = ?, cost_usd = ?, duration_ms = duration_ms + ? WHERE run_id = ?",
            (to_json(usage.model_dump()), cost_usd, attempt.duration_ms, run_id),
        )
        of_run = {"skill": run["skill"], "chain": run["chain"], "run_created_at": run["created_at"]}
        _insert(connection, "attempts", self._writer.attempt(run_id, attempt) | of_run)
        for step in steps:
            _insert(connection, "steps", self._writer.step(run_id, step))
        note_recorded(connection, run_id)

    def _record_step(self, connection: sqlite3.Connection, run_id: str, step: Step) -> None:
        self._require_own(connection, run_id)
        _insert(connection, "steps", self._writer.step(run_id, step))

    def _require(self, found: object, run_id: str) -> None:
        if not found:
            raise StoreError(
                f"the session log {self._path} holds no run {run_id}",
                hint="was it deleted, or the file replaced, while the run went on?",
            )

    def _require_own(self, connection: sqlite3.Connection, run_id: str) -> None:
        run = connection.execute("SELECT pid, host FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        self._require(run, run_id)
        if (run["pid"], run["host"]) != (self._process.pid, self._process.host):
            raise StoreError(
                f"the run {run_id} goes on in another process",
                hint="this one showed no sign of life for a while; leave the run to the other one",
            )


def _insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    columns, values = ", ".join(row), ", ".join(f":{column}" for column in row)
    # Table and columns are named by the code and its records, never from outside.
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", storable(row))  # noqa: S608 - ours
