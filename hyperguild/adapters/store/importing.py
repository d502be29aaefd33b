"""Writes runs that come from elsewhere into the session log, whole, as they are."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hyperguild import __version__
from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.liveness import ProcessId
from hyperguild.adapters.store.rows import Row, RowWriter, storable, to_time
from hyperguild.adapters.store.thread import StoreThread
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunStart, StoredRun
from hyperguild.domain.review import ImportedRun, Label, consensus
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import UsageError

NOBODY = ProcessId(pid=0, host="", started=None)
"""In place of the process that a run is under way in; it is taken out of the row."""

TAIL = 17
"""Characters at the end of an id that are drawn, and not time or a counter."""


class RunImporter:
    """Adds whole runs to the session log. Made by `open`; methods are one transaction and raise `StoreError`.

    Ids stay. Texts are scrubbed, and kept whatever a log policy says: they were given to be kept. A run that
    was under way counts as interrupted.
    """

    def __init__(self, path: Path, scrubber: Scrubber) -> None:
        self._thread = StoreThread(path, "import")
        self._writer = RowWriter(scrubber, LogPolicy())

    @classmethod
    async def open(cls, path: Path, *, scrubber: Scrubber, version: str = __version__) -> Self:
        """Open the log at `path`, made and upgraded as needed; nothing in it is deleted for its age.

        Raises `StoreError` and `StoreVersionError`. Cancelled, it leaves nothing open.
        """
        importer = cls(path, scrubber)
        await importer._thread.connect(lambda: open_for_writing(path, program_version=version))
        return importer

    async def add(self, runs: Sequence[ImportedRun], *, same_tail: bool = False) -> int:
        """Add those that are not there yet; return how many those are.

        With `same_tail` a run is there when one whose id ends alike is: the end was made of its content.
        Raises `UsageError`, and adds none, where one has the id of an attempt, step or label of another run.
        """

        def work(connection: sqlite3.Connection) -> int:
            ids = [run.run.result.run_id for run in runs]
            there = _there(connection, ids, same_tail=same_tail)
            new: dict[str, ImportedRun] = {}
            for one in runs:
                key = _key(one, same_tail=same_tail)
                if key not in there:
                    new.setdefault(key, one)
            _refuse_taken(connection, list(new.values()))
            self._insert(connection, list(new.values()))
            return len(new)

        return await self._thread.write(work)

    async def aclose(self) -> None:
        """Close the database once all that was asked for is done. Safe to call twice, and when cancelled."""
        await self._thread.aclose()

    def _insert(self, connection: sqlite3.Connection, runs: Sequence[ImportedRun]) -> None:
        labels = {one.run.result.run_id: _by_attempt(one.labels) for one in runs}
        sessions: dict[str, list[StoredRun]] = {}
        for one in runs:
            sessions.setdefault(one.run.result.session_id, []).append(one.run)
        for of_session in sessions.values():
            self._add_session(connection, of_session)
        _insert_all(connection, "runs", [self._run(one.run) for one in runs])
        _insert_all(
            connection,
            "attempts",
            [
                self._attempt(one.run, attempt, labels[one.run.result.run_id].get(attempt.attempt_id, []))
                for one in runs
                for attempt in one.run.result.attempts
            ],
        )
        steps = [self._writer.step(one.run.result.run_id, step) for one in runs for step in one.run.steps]
        _insert_all(connection, "steps", steps)
        _insert_all(connection, "labels", [self._label(label) for one in runs for label in one.labels])

    def _add_session(self, connection: sqlite3.Connection, runs: Sequence[StoredRun]) -> None:
        first = min(runs, key=lambda run: run.created_at)
        connection.execute(
            "INSERT INTO sessions (session_id, created_at, title, newest_run_id)"
            " VALUES (:id, :at, :title, :run) ON CONFLICT (session_id)"
            " DO UPDATE SET newest_run_id = max(coalesce(newest_run_id, ''), :run),"
            " created_at = min(created_at, :at)",
            storable(
                {
                    "id": first.result.session_id,
                    "at": to_time(first.created_at),
                    "title": self._writer.title(first.task or ""),
                    "run": max(run.result.run_id for run in runs),
                }
            ),
        )

    def _run(self, run: StoredRun) -> Row:
        result = run.result
        if result.status == "running":
            result = result.model_copy(update={"status": "interrupted"})
        start = RunStart(
            run_id=result.run_id,
            session_id=result.session_id,
            skill=result.skill,
            chain=result.chain,
            task=run.task or "",
            images=run.images,
            options=run.options,
            parent_run_id=run.parent_run_id,
            created_at=run.created_at,
            lease_expires_at=run.created_at,
        )
        row = self._writer.run(start, NOBODY) | self._writer.result(result, run.created_at)
        return row | {
            "task": None if run.task is None else row["task"],
            "finished_at": None if run.finished_at is None else to_time(run.finished_at),
            "pid": None,
            "host": None,
            "process_started": None,
        }

    def _attempt(self, run: StoredRun, attempt: Attempt, labels: Sequence[Label]) -> Row:
        of_run = {"skill": run.result.skill, "chain": run.result.chain, "label": consensus(labels)}
        return self._writer.attempt(run.result.run_id, attempt) | of_run

    def _label(self, label: Label) -> Row:
        note = self._writer.scrubber.scrub(label.note) if label.note else ""
        return label.model_dump() | {"note": note, "created_at": to_time(label.created_at)}


def _key(run: ImportedRun, *, same_tail: bool) -> str:
    return run.run.result.run_id[-TAIL:] if same_tail else run.run.result.run_id


def _there(connection: sqlite3.Connection, ids: Sequence[str], *, same_tail: bool) -> set[str]:
    """Return which of the ids, or of their ends, the log has."""
    key = f"substr(run_id, -{TAIL})" if same_tail else "run_id"
    wanted = json.dumps([one[-TAIL:] for one in ids] if same_tail else list(ids))
    # The key is one of two constants.
    query = f"SELECT {key} FROM runs WHERE {key} IN (SELECT value FROM json_each(?))"  # noqa: S608
    return {str(found) for (found,) in connection.execute(query, (wanted,))}


def _refuse_taken(connection: sqlite3.Connection, runs: Sequence[ImportedRun]) -> None:
    """Raise `UsageError` where a part of a run has the id of a part of another one, here or in the log."""
    parts = {
        "attempt": [part.attempt_id for one in runs for part in one.run.result.attempts],
        "step": [part.step_id for one in runs for part in one.run.steps],
        "label": [part.label_id for one in runs for part in one.labels],
    }
    for part, ids in parts.items():
        # The names are those of the three above.
        query = f"SELECT {part}_id FROM {part}s WHERE {part}_id IN (SELECT value FROM json_each(?)) LIMIT 1"  # noqa: S608
        row = connection.execute(query, (json.dumps(ids),)).fetchone()
        taken = row[0] if row else next((one for one, times in Counter(ids).items() if times > 1), None)
        if taken is not None:
            raise UsageError(
                f"two runs have the same {part}, {taken}",
                hint="take one of them out of the file; runs before them may have been imported",
            )


def _by_attempt(labels: Sequence[Label]) -> dict[str, list[Label]]:
    found: dict[str, list[Label]] = {}
    for label in labels:
        found.setdefault(label.attempt_id, []).append(label)
    return found


def _insert_all(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows that have the same columns."""
    if not rows:
        return
    columns, values = ", ".join(rows[0]), ", ".join(f":{column}" for column in rows[0])
    # Table and columns are named by the code and its records, never from outside.
    statement = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - ours
    connection.executemany(statement, [storable(row) for row in rows])
