"""Pages of sessions, runs, attempts and hits, newest first."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from hyperguild.adapters.store.cursors import Key, read_cursor, write_cursor
from hyperguild.adapters.store.filters import Conditions, of_attempts, of_runs
from hyperguild.adapters.store.reading import LogReader
from hyperguild.domain.records import JudgeUse, SessionSummary
from hyperguild.domain.review import AttemptRow, Hit, Page, ReviewFilter, RunRow
from hyperguild.errors import UsageError

EXCERPT_CHARS = 200
"""Of a task or an answer, in a listing."""

_RUN_COLUMNS = (
    "run_id, session_id, parent_run_id, skill, chain, status, model, tier, duration_ms, cost_usd, created_at,"
    " finished_at, lease_expires_at, pid, host, process_started,"
    f" substr(task, 1, {EXCERPT_CHARS}) AS excerpt,"
    " (SELECT count(*) FROM attempts WHERE attempts.run_id = runs.run_id) AS attempts"
)
_ATTEMPT_COLUMNS = (
    "attempt_id, run_id, (SELECT session_id FROM runs WHERE runs.run_id = attempts.run_id) AS session_id,"
    " skill, chain, position, model, tier, verdict, cause, score, verifier, label, duration_ms, cost_usd,"
    f" started_at, created_at, substr(answer, 1, {EXCERPT_CHARS}) AS excerpt"
)


def sessions(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, limit: int, after: str | None
) -> Page[SessionSummary]:
    """Return a page of sessions that have a run that fits, by their newest run that does."""
    key = read_cursor("sessions", (str, str), after)
    fits = of_runs(wanted, reader.dead_runs(connection))
    _add_text(fits, "runs", wanted.text)
    newest = Conditions()
    if key is not None:
        newest.add("(created_at, run_id) < (?, ?)", *key)
    rows = connection.execute(
        "SELECT sessions.*, newest.created_at AS at, newest.run_id AS run_id FROM"  # noqa: S608
        " (SELECT session_id, max(created_at || ' ' || run_id), created_at, run_id FROM runs"
        f"  WHERE {fits.sql} GROUP BY session_id) AS newest JOIN sessions USING (session_id)"
        f" WHERE {newest.sql.replace('(created_at, run_id)', '(newest.created_at, newest.run_id)')}"
        " ORDER BY newest.created_at DESC, newest.run_id DESC LIMIT ?",
        [*fits.values, *newest.values, limit + 1],
    ).fetchall()
    items = tuple(reader.summary(connection, row) for row in rows[:limit])
    return Page(items, _after("sessions", rows, limit, ("at", "run_id")))


def runs(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, limit: int, after: str | None
) -> Page[RunRow]:
    """Return a page of runs that fit."""
    fits = of_runs(wanted, reader.dead_runs(connection))
    _add_text(fits, "runs", wanted.text)
    _add_after(fits, read_cursor("runs", (str, str), after), "run_id")
    rows = connection.execute(
        f"SELECT {_RUN_COLUMNS} FROM runs WHERE {fits.sql} ORDER BY created_at DESC, run_id DESC LIMIT ?",  # noqa: S608
        [*fits.values, limit + 1],
    ).fetchall()
    items = tuple(_run_row(reader, row) for row in rows[:limit])
    return Page(items, _after("runs", rows, limit, ("created_at", "run_id")))


def attempts(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, limit: int, after: str | None
) -> Page[AttemptRow]:
    """Return a page of attempts that fit; their own answer or their run's task has the text."""
    fits = of_attempts(wanted, reader.dead_runs(connection))
    _add_text(fits, "attempts", wanted.text)
    _add_after(fits, read_cursor("attempts", (str, str), after), "attempt_id")
    rows = connection.execute(
        f"SELECT {_ATTEMPT_COLUMNS} FROM attempts WHERE {fits.sql}"  # noqa: S608
        " ORDER BY created_at DESC, attempt_id DESC LIMIT ?",
        [*fits.values, limit + 1],
    ).fetchall()
    items = tuple(_attempt_row(reader, row) for row in rows[:limit])
    return Page(items, _after("attempts", rows, limit, ("created_at", "attempt_id")))


def search(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, limit: int, after: str | None
) -> Page[Hit]:
    """Return a page of where the text is found. Raises `UsageError` for a bad query."""
    if not wanted.text.strip():
        raise UsageError("nothing to search for", hint="give a word")
    dead = reader.dead_runs(connection)
    key = read_cursor("search", (str, str), after)
    word = wanted.text.split()[0].strip('"*')
    found = []
    for table, id_column, text, fits in (
        ("runs", "run_id", "task", of_runs(wanted, dead)),
        ("attempts", "attempt_id", "answer", of_attempts(wanted, dead)),
    ):
        fits.add(f"instr(lower({table}.{text}), lower(?))", word)
        _add_after(fits, key, id_column)
        found += connection.execute(
            f"SELECT *, {id_column} AS id, {text} AS found_in,"  # noqa: S608
            f" (SELECT session_id FROM runs AS r WHERE r.run_id = {table}.run_id) AS session"
            f" FROM {table} WHERE {fits.sql} ORDER BY created_at DESC, {id_column} DESC LIMIT ?",
            [*fits.values, limit + 1],
        ).fetchall()
    rows = sorted(found, key=lambda row: (row["created_at"], row["id"]), reverse=True)
    items = tuple(_hit(row, word) for row in rows[:limit])
    return Page(items, _after("search", rows, limit, ("created_at", "id")))


def to_review(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, reviewer: str, limit: int
) -> list[AttemptRow]:
    """Return candidates for a reviewer's labels."""
    fits = of_attempts(wanted, reader.dead_runs(connection))
    _add_text(fits, "attempts", wanted.text)
    fits.add("answer != ''")
    fits.add(
        "(SELECT value FROM labels WHERE labels.attempt_id = attempts.attempt_id AND reviewer = ?"
        " ORDER BY labels.rowid DESC LIMIT 1) IS NULL",
        reviewer,
    )
    found: dict[str, AttemptRow] = {}
    for condition, order in (
        ("verdict = 'accept' AND score IS NOT NULL", "score"),
        ("verdict = 'escalate' AND score IS NOT NULL", "score DESC"),
        (
            "(verdict = 'accept' AND label = 'bad' OR verdict = 'escalate' AND label = 'good')",
            "attempt_id DESC",
        ),
        ("1", "created_at DESC, attempt_id DESC"),
    ):
        rows = connection.execute(
            f"SELECT {_ATTEMPT_COLUMNS} FROM attempts WHERE {fits.sql} AND {condition}"  # noqa: S608
            f" AND attempt_id NOT IN (SELECT value FROM json_each(?)) ORDER BY {order} LIMIT ?",
            [*fits.values, json.dumps(list(found)), limit],
        ).fetchall()
        found |= {row["attempt_id"]: _attempt_row(reader, row) for row in rows}
    return list(found.values())


def fitting_runs(reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter) -> list[str]:
    """Return the ids of all runs that fit, oldest first."""
    fits = of_runs(wanted, reader.dead_runs(connection))
    _add_text(fits, "runs", wanted.text)
    rows = connection.execute(
        f"SELECT run_id FROM runs WHERE {fits.sql} ORDER BY created_at, run_id",  # noqa: S608
        fits.values,
    )
    return [row["run_id"] for row in rows]


def _run_row(reader: LogReader, row: sqlite3.Row) -> RunRow:
    fields: dict[str, Any] = {name: row[name] for name in RunRow.model_fields}
    fields["status"] = reader.status(row)
    return reader.readable(lambda: RunRow(**fields), f"run {row['run_id']}")


def _attempt_row(reader: LogReader, row: sqlite3.Row) -> AttemptRow:
    def build() -> AttemptRow:
        fields = {name: row[name] for name in AttemptRow.model_fields if name != "judge"}
        return AttemptRow(**fields, judge=JudgeUse.model_validate_json(row["verifier"]).model)

    return reader.readable(build, f"attempt {row['attempt_id']}")


def _hit(row: sqlite3.Row, word: str) -> Hit:
    text = row["found_in"]
    at = text.lower().index(word.lower())
    end = at + len(word)
    is_run = row["id"] == row["run_id"]
    return Hit(
        run_id=row["run_id"],
        session_id=row["session"],
        attempt_id=None if is_run else row["id"],
        skill=row["skill"],
        model=None if is_run else row["model"],
        created_at=row["created_at"],
        excerpt=(text[max(at - 80, 0) : at], text[at:end], text[end : end + 80]),
    )


def _add_text(fits: Conditions, table: str, text: str) -> None:
    for word in text.split():
        fits.add(
            f"(EXISTS (SELECT 1 FROM runs AS r WHERE r.run_id = {table}.run_id"
            " AND instr(lower(r.task), lower(?)))"
            f" OR EXISTS (SELECT 1 FROM attempts AS a WHERE a.run_id = {table}.run_id"
            " AND instr(lower(a.answer), lower(?))))",
            word,
            word,
        )


def _add_after(fits: Conditions, key: Key | None, id_column: str) -> None:
    if key is not None:
        fits.add(f"(created_at, {id_column}) < (?, ?)", *key)


def _after(name: str, rows: list[sqlite3.Row], limit: int, columns: tuple[str, ...]) -> str | None:
    if len(rows) <= limit:
        return None
    return write_cursor(name, tuple(rows[limit - 1][column] for column in columns))
