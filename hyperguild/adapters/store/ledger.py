"""What runs spend of limits that they share, in the session database: `Ledger` over its connection.

Reserving is one transaction under the write lock: it adds up what is on record, what is settled but not on
record yet, what is reserved, and the ask; so any number of processes may do it at once. Recording an attempt
takes the place of its run's settled calls in the same transaction, so that nothing is ever counted nowhere.

A reservation of a process that is gone is released when somebody needs what it holds. It may have spent some
of it, which nobody can know, and the log does not count either; until then it counts in full.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from hyperguild.adapters.store.liveness import ProcessId
from hyperguild.adapters.store.rows import to_time
from hyperguild.domain.limits import Amount, Limits, Refusal, Scope, Standing, Unit
from hyperguild.errors import StoreError
from hyperguild.ports import Clock
from hyperguild.resilience.budget import refusal

T = TypeVar("T")

_DAY_CHARS = 10
"""Of a stored time: `2026-01-31`. Times are stored in UTC."""

_OF_RUNS: dict[Scope, str] = {"session": "runs.session_id = :session", "day": "runs.created_at >= :day"}
_OF_RESERVATIONS: dict[Scope, str] = {
    "session": "session_id = :session AND NOT recorded",
    "day": "day = :day AND (NOT recorded OR run_day < :day)",
}
# The totals of a run include those of the runs that it delegated, once its attempt is on record.
_OWN = "runs.parent_run_id IS NULL"
_TOKENS = "json_extract(usage, '$.input_tokens') + json_extract(usage, '$.output_tokens')"
_SPENT: dict[Unit, str] = {
    "cost_usd": "SELECT sum(cost_usd) FROM runs WHERE ",
    "tokens": f"SELECT sum({_TOKENS}) FROM runs WHERE ",  # noqa: S608 - a constant
    "attempts": "SELECT count(*) FROM attempts JOIN runs USING (run_id) WHERE verdict != 'skip' AND ",
}


class Transact(Protocol):
    """Runs work on the connection in one transaction, in the store's thread."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """Return what the work returns."""
        ...


class SqliteLedger:
    """The shared spending of a session log; implements `ports.Ledger`. Writes as the store does."""

    def __init__(self, write: Transact, read: Transact, clock: Clock) -> None:
        self._write = write
        self._read = read
        self._clock = clock

    async def reserve(self, run_id: str, key: str, ask: Amount, limits: Limits) -> Refusal | None:
        """Set the amount aside, or return why it cannot be. Raises `StoreError`, also for an unknown run."""

        def work(connection: sqlite3.Connection) -> Refusal | None:
            day = self._today()
            session = connection.execute("SELECT session_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            session_id = None if session is None else session["session_id"]
            refused = refusal(ask, _standings(connection, limits, session_id, day))
            if refused is not None and self._release_dead(connection):
                refused = refusal(ask, _standings(connection, limits, session_id, day))
            if refused is None:
                connection.execute("DELETE FROM reservations WHERE recorded AND day < ?", (day,))
                self._insert(connection, key, run_id, ask, settled=False)
            return refused

        return await self._write(work)

    async def settle(self, key: str, run_id: str, used: Amount, *, on_record: bool = False) -> None:
        """Put what was used in the place of what was reserved; also where that was released meanwhile.

        `on_record`: the attempt is on record by now, and what was used is kept for a later day only.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM reservations WHERE reservation_id = ?", (key,))
            if used != Amount():
                self._insert(connection, key, run_id, used, settled=True)
            if on_record:
                note_recorded(connection, run_id, key)

        await self._write(work)

    async def standings(self, session_id: str | None, limits: Limits) -> tuple[Standing, ...]:
        """Return how each limit stands now, without what processes that are gone have reserved."""

        def work(connection: sqlite3.Connection) -> tuple[Standing, ...]:
            return _standings(connection, limits, session_id, self._today(), self._dead_runs(connection))

        return await self._read(work)

    def _today(self) -> str:
        return to_time(self._clock.now())[:_DAY_CHARS]

    def _insert(
        self, connection: sqlite3.Connection, key: str, run_id: str, amount: Amount, *, settled: bool
    ) -> None:
        insert(
            connection,
            {"key": key, "run": run_id, "at": to_time(self._clock.now()), "settled": settled},
            amount,
        )

    def _release_dead(self, connection: sqlite3.Connection) -> bool:
        dead = self._dead_runs(connection)
        for run_id in dead:
            release(connection, run_id)
        return bool(dead)

    def _dead_runs(self, connection: sqlite3.Connection) -> list[str]:
        """Return the runs with open reservations whose process is gone.

        One that merely shows no sign of life may still be paid for a call: only where it cannot be seen from
        here, its lease decides.
        """
        rows = connection.execute(
            "SELECT run_id, pid, host, process_started, lease_expires_at FROM runs WHERE run_id IN"
            " (SELECT run_id FROM reservations WHERE NOT settled)"
        ).fetchall()
        now = to_time(self._clock.now())
        return [
            row["run_id"]
            for row in rows
            if (row["host"] != socket.gethostname() and row["lease_expires_at"] < now)
            or ProcessId(row["pid"], row["host"], row["process_started"]).is_gone()
        ]


def spent_query(scope: Scope, unit: Unit) -> str:
    """Return the query for what is on record as spent; its parameters are `session` and `day`."""
    return f"{_SPENT[unit]}{_OWN} AND {_OF_RUNS[scope]}"


def _standings(
    connection: sqlite3.Connection,
    limits: Limits,
    session_id: str | None,
    day: str,
    dead_runs: list[str] | None = None,
) -> tuple[Standing, ...]:
    values: dict[str, Any] = {"session": session_id, "day": day}
    dead = set(dead_runs or ())
    standings = []
    for scope, unit, limit in limits.each():
        if scope == "session" and session_id is None:
            continue
        spent = connection.execute(spent_query(scope, unit), values).fetchone()[0] or 0
        reserved = 0
        rows = connection.execute(
            # Column and condition are constants of the code.
            f"SELECT run_id, settled, {unit} FROM reservations WHERE {_OF_RESERVATIONS[scope]}",  # noqa: S608
            values,
        )
        for run_id, settled, amount in rows:
            if settled:
                spent += amount
            elif run_id not in dead:
                reserved += amount
        standings.append(Standing(scope, unit, limit, spent, reserved))
    return tuple(standings)


def insert(connection: sqlite3.Connection, row: dict[str, Any], amount: Amount) -> None:
    """Add a reservation of a run on record; `row` has `key`, `run`, `at` and `settled`.

    Raises `StoreError` where there is no such run: what it spends would count nowhere.
    """
    added = connection.execute(
        "INSERT INTO reservations (reservation_id, run_id, root_run_id, session_id, run_day, day, cost_usd,"
        " tokens, attempts, settled, created_at)"
        " SELECT :key, runs.run_id, root.run_id, root.session_id, substr(root.created_at, 1, :chars),"
        " substr(:at, 1, :chars), :cost_usd, :tokens, :attempts, :settled, :at"
        " FROM runs JOIN runs AS root ON root.run_id = coalesce(runs.parent_run_id, runs.run_id)"
        " WHERE runs.run_id = :run",
        {
            **row,
            "chars": _DAY_CHARS,
            "cost_usd": amount.cost_usd or 0.0,
            "tokens": amount.tokens,
            "attempts": amount.attempts,
        },
    )
    if added.rowcount == 0:
        raise StoreError(
            f"the session log holds no run {row['run']}",
            hint="was it deleted, or the file replaced, while the run went on?",
        )


def release(connection: sqlite3.Connection, run_id: str) -> None:
    """Take back what a run has reserved for calls that are not under way any more."""
    connection.execute("DELETE FROM reservations WHERE run_id = ? AND NOT settled", (run_id,))


def take_up(connection: sqlite3.Connection, run_id: str) -> None:
    """Free what a run has reserved that goes on after an interruption.

    The attempt under way stays one attempt: it is counted with its next call.
    """
    release(connection, run_id)
    connection.execute(
        "UPDATE reservations SET attempts = 0 WHERE root_run_id = ? AND settled AND NOT recorded", (run_id,)
    )


def note_recorded(connection: sqlite3.Connection, run_id: str, key: str | None = None) -> None:
    """Take note that the totals of the run have from now on what it and those it delegated have settled.

    With `key` that one alone. What it spent on a later day than that on which it began is kept, to count for
    that day.
    """
    settled = "root_run_id = :run AND settled AND (:key IS NULL OR reservation_id = :key)"
    of_run = {"run": run_id, "key": key}
    connection.execute(f"DELETE FROM reservations WHERE {settled} AND day <= run_day", of_run)  # noqa: S608
    connection.execute(f"UPDATE reservations SET recorded = 1 WHERE {settled}", of_run)  # noqa: S608
