"""Pages of sessions, runs, attempts and hits, newest first."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from hyperguild.adapters.store import candidates
from hyperguild.adapters.store.cursors import Key, read_cursor, write_cursor
from hyperguild.adapters.store.filters import of_attempts, of_runs
from hyperguild.adapters.store.pages import Skipped, fill
from hyperguild.adapters.store.reading import LogReader
from hyperguild.adapters.store.search import Passed, TextQuery, text_query
from hyperguild.adapters.store.streams import Range, descending
from hyperguild.domain.records import JudgeUse, SessionSummary
from hyperguild.domain.review import EVERYTHING, AttemptRow, Hit, Page, ReviewFilter, RunRow
from hyperguild.errors import UsageError

T = TypeVar("T")

EXCERPT_CHARS = 200
"""Of a task or an answer, in a listing."""

# Indexes are named where rows are looked up: SQLite would take the one that a filter's columns have.
Candidates = Iterator[Key | Skipped[Key]]

_RUN_COLUMNS = (
    "run_id, session_id, parent_run_id, skill, chain, status, model, tier, duration_ms, cost_usd, created_at,"
    " finished_at, lease_expires_at, pid, host, process_started,"
    f" substr(task, 1, {EXCERPT_CHARS}) AS excerpt,"
    " (SELECT count(*) FROM attempts WHERE attempts.run_id = runs.run_id) AS attempts"
)
_SESSION_OF_ATTEMPT = "(SELECT session_id FROM runs WHERE runs.run_id = attempts.run_id) AS session_id"
ATTEMPT_COLUMNS = (
    "attempts.rowid AS number, attempt_id, run_id, skill, chain, position, model, tier, verdict, cause,"
    " score, verifier, label, duration_ms, cost_usd, started_at,"
    f" {_SESSION_OF_ATTEMPT}, substr(answer, 1, {EXCERPT_CHARS}) AS excerpt"
)
_ALL_SESSIONS = (
    "SELECT newest_run_id FROM sessions INDEXED BY sessions_newest_run_id WHERE newest_run_id > ''"
)
_AMONG = "IN (SELECT value FROM json_each(?))"


class Listing:
    """One page of what fits a filter. Methods block; `UsageError` says that the cursor is bad."""

    def __init__(
        self,
        reader: LogReader,
        connection: sqlite3.Connection,
        wanted: ReviewFilter,
        limit: int,
        after: str | None,
    ) -> None:
        self._reader = reader
        self._connection = connection
        self._wanted = wanted
        self._limit = limit
        self._after = after
        dead = reader.dead_runs(connection)
        self._run_fits = of_runs(wanted, dead)
        self._attempt_fits = of_attempts(wanted, dead)

    def runs(self) -> Page[RunRow]:
        """Return runs that fit; with a text by the newest of their texts that has it."""
        query = self._query(of_texts=False)
        if query is None:
            after = read_cursor("runs", (str, str), self._after)
            found: Candidates = candidates.runs(self._connection, self._wanted, after)
            return self._page("runs", found, self._fitting_runs)
        found = self._texts(query, read_cursor("runs by text", (int,), self._after))
        return self._page("runs by text", found, lambda keys: self._runs_with(query, keys))

    def sessions(self) -> Page[SessionSummary]:
        """Return sessions that have a run that fits, by their newest run (or text) that does."""
        query = self._query(of_texts=False)
        if query is not None:
            found = self._texts(query, read_cursor("sessions by text", (int,), self._after))
            return self._page("sessions by text", found, lambda keys: self._sessions_with(query, keys))
        if self._wanted == EVERYTHING:
            after = read_cursor("all sessions", (str,), self._after)
            found = descending(self._connection, _ALL_SESSIONS, (), ("newest_run_id",), Range(after))
            return self._page("all sessions", found, self._sessions_of)
        after = read_cursor("sessions", (str, str), self._after)
        found = candidates.runs(self._connection, self._wanted, after)
        return self._page("sessions", found, self._sessions_by_run)

    def attempts(self) -> Page[AttemptRow]:
        """Return attempts that fit; with a text those whose answer or task has it, by that."""
        query = self._query(of_texts=True)
        listing, types = ("attempts", (str, str, str)) if query is None else ("attempts by text", (int, str))
        after = self._with_rowid(read_cursor(listing, types, self._after))
        if query is None:
            found: Candidates = candidates.attempts(self._connection, self._wanted, after)
        else:
            found = self._attempts_with(query, after)
        done = fill(found, self._fitting_attempts, self._limit, self._reader.monotonic)
        return Page(done.items, write_cursor(listing, self._with_id(done.after)))

    def search(self) -> Page[Hit]:
        """Return where the text is found. Raises `UsageError` for a bad query."""
        query = self._query(of_texts=True)
        if query is None:
            raise UsageError("nothing to search for", hint="give a word")
        found = self._texts(query, read_cursor("search", (int,), self._after))
        page = self._page("search", found, self._fitting_texts)
        return Page(tuple(self._hit(query, row) for row in page.items), page.after)

    def _page(
        self, listing: str, found: Candidates, fitting: Callable[[list[Key]], Iterable[tuple[Key, T]]]
    ) -> Page[T]:
        done = fill(found, fitting, self._limit, self._reader.monotonic)
        return Page(done.items, write_cursor(listing, done.after))

    def _query(self, *, of_texts: bool) -> TextQuery | None:
        if not self._wanted.text.strip():
            return None
        return text_query(self._connection, self._wanted, of_texts=of_texts)

    def _with_rowid(self, key: Key | None) -> Key | None:
        """Put its row's number, which VACUUM changes, in the place of an attempt's id; 0 where it is gone."""
        if key is None:
            return None
        row = self._connection.execute("SELECT rowid FROM attempts WHERE attempt_id = ?", key[-1:]).fetchone()
        return (*key[:-1], 0 if row is None else row[0])

    def _with_id(self, key: Key | None) -> Key | None:
        if key is None:
            return None
        row = self._connection.execute("SELECT attempt_id FROM attempts WHERE rowid = ?", key[-1:]).fetchone()
        return (*key[:-1], "" if row is None else row[0])

    def _texts(self, query: TextQuery, after: Key | None, *, included: bool = False) -> Candidates:
        """Yield (text_id,) of texts that have it, newest first, after that of the key or from there."""
        newest = None if after is None else after[0] if included else after[0] - 1
        narrow = candidates.few_texts(self._connection, self._wanted)
        if narrow is None:
            found = query.hits(self._connection, newest)
        else:
            found = query.among(self._connection, [one for one in narrow if newest is None or one <= newest])
        for text_id in found:
            yield Skipped((text_id.text_id,)) if isinstance(text_id, Passed) else (text_id,)

    def _fitting_runs(self, keys: list[Key]) -> Iterable[tuple[Key, RunRow]]:
        fits = self._run_fits
        rows = self._connection.execute(
            f"SELECT {_RUN_COLUMNS} FROM runs INDEXED BY runs_run_id WHERE run_id {_AMONG} AND {fits.sql}",
            [json.dumps([key[-1] for key in keys]), *fits.values],
        )
        by_id = {row["run_id"]: row for row in rows}
        return [(key, run_row(self._reader, by_id[key[-1]])) for key in keys if key[-1] in by_id]

    def _fitting_attempts(self, keys: list[Key]) -> Iterable[tuple[Key, AttemptRow]]:
        fits = self._attempt_fits
        rows = self._connection.execute(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts NOT INDEXED"
            f" WHERE attempts.rowid {_AMONG} AND {fits.sql}",
            [json.dumps([key[-1] for key in keys]), *fits.values],
        )
        by_number = {row["number"]: row for row in rows}
        return [(key, attempt_row(self._reader, by_number[key[-1]])) for key in keys if key[-1] in by_number]

    def _fitting_texts(self, keys: list[Key]) -> Iterable[tuple[Key, sqlite3.Row]]:
        """Return the rows of texts whose run, or whose attempt, fits."""
        rows: dict[int, sqlite3.Row] = {}
        ids = json.dumps([text_id for (text_id,) in keys])
        for table, columns, fits in (
            ("runs", "session_id, NULL AS attempt_id, NULL AS model", self._run_fits),
            (
                "attempts",
                f"{_SESSION_OF_ATTEMPT}, attempt_id, model",
                self._attempt_fits,
            ),
        ):
            at = "created_at" if table == "runs" else "coalesce(started_at, run_created_at)"
            found = self._connection.execute(
                f"SELECT text_id, run_id, skill, {at} AS created_at, {columns} FROM {table}"
                f" INDEXED BY {table}_text_id WHERE text_id {_AMONG} AND {fits.sql}",
                [ids, *fits.values],
            )
            rows |= {row["text_id"]: row for row in found}
        return [(key, rows[key[0]]) for key in keys if key[0] in rows]

    def _runs_of_texts(self, keys: list[Key]) -> dict[int, str]:
        rows = self._connection.execute(
            f"SELECT text_id, run_id FROM runs WHERE text_id {_AMONG}"
            f" UNION ALL SELECT text_id, run_id FROM attempts WHERE text_id {_AMONG}",
            2 * [json.dumps([text_id for (text_id,) in keys])],
        )
        return {row["text_id"]: row["run_id"] for row in rows}

    def _runs_with(self, query: TextQuery, keys: list[Key]) -> Iterable[tuple[Key, RunRow]]:
        """Return the runs of these texts, each with the newest text that has it."""
        of_texts = self._runs_of_texts(keys)
        newest: dict[str, Key] = {}
        for key in keys:
            if key[0] in of_texts:
                newest.setdefault(of_texts[key[0]], key)
        for (run_id,), item in self._fitting_runs([(run_id,) for run_id in newest]):
            (text_id,) = newest[run_id]
            later = self._connection.execute(
                "SELECT text_id FROM attempts WHERE run_id = ? AND text_id > ?", (run_id, text_id)
            ).fetchall()
            if not any(query.is_in(self._connection, one) for (one,) in later):
                yield newest[run_id], item

    def _sessions_of(self, keys: list[Key]) -> Iterable[tuple[Key, SessionSummary]]:
        rows = self._connection.execute(
            f"SELECT * FROM sessions WHERE newest_run_id {_AMONG}",
            [json.dumps([run_id for (run_id,) in keys])],
        )
        by_run = {row["newest_run_id"]: row for row in rows}
        return [
            (key, self._reader.summary(self._connection, by_run[key[0]])) for key in keys if key[0] in by_run
        ]

    def _sessions_by_run(self, keys: list[Key]) -> Iterable[tuple[Key, SessionSummary]]:
        """Return the sessions of these runs, each with the newest run of it that fits."""
        fits = self._run_fits
        newer = (
            "SELECT 1 FROM runs INDEXED BY runs_session_id WHERE session_id = ? AND created_at >= ?"
            f" AND (created_at, run_id) > (?, ?) AND {fits.sql} LIMIT 1"
        )
        for key, session in self._newest_of_sessions(keys):
            at, run_id = key
            values = [session["session_id"], at, at, run_id, *fits.values]
            if self._connection.execute(newer, values).fetchone() is None:
                yield key, self._reader.summary(self._connection, session)

    def _sessions_with(self, query: TextQuery, keys: list[Key]) -> Iterable[tuple[Key, SessionSummary]]:
        """Return the sessions of these texts, each with the newest text of it that has it."""
        fits = self._run_fits
        later = (
            f"SELECT text_id FROM runs INDEXED BY runs_session_id"
            f" WHERE session_id = ? AND text_id > ? AND {fits.sql}"
            " UNION ALL SELECT attempts.text_id FROM runs INDEXED BY runs_session_id"
            f" JOIN attempts USING (run_id) WHERE session_id = ? AND attempts.text_id > ? AND {fits.sql}"
        )
        of_texts = self._runs_of_texts(keys)
        by_run = [(*key, of_texts[key[0]]) for key in keys if key[0] in of_texts]
        for (text_id, _), session in self._newest_of_sessions(by_run):
            texts = self._connection.execute(later, 2 * [session["session_id"], text_id, *fits.values])
            if not any(query.is_in(self._connection, one) for (one,) in texts.fetchall()):
                yield (text_id,), self._reader.summary(self._connection, session)

    def _newest_of_sessions(self, keys: list[Key]) -> Iterable[tuple[Key, sqlite3.Row]]:
        """Return the first key of each session that fits; a key ends in the id of a run."""
        fits = self._run_fits
        rows = self._connection.execute(
            "SELECT runs.run_id AS of_run, sessions.* FROM runs INDEXED BY runs_run_id"
            f" JOIN sessions USING (session_id) WHERE run_id {_AMONG} AND {fits.sql}",
            [json.dumps([key[-1] for key in keys]), *fits.values],
        )
        by_run = {row["of_run"]: row for row in rows}
        found: dict[str, tuple[Key, sqlite3.Row]] = {}
        for key in keys:
            if key[-1] in by_run:
                session = by_run[key[-1]]
                found.setdefault(session["session_id"], (key, session))
        return found.values()

    def _attempts_with(self, query: TextQuery, after: Key | None) -> Candidates:
        """Yield (text_id, rowid) of attempts by their answer that has it, else by their task that has it."""
        for key in self._texts(query, after, included=True):
            if isinstance(key, Skipped):
                yield Skipped((*key.key, 0))
                continue
            own = self._connection.execute("SELECT rowid FROM attempts WHERE text_id = ?", key).fetchone()
            found = [own["rowid"]] if own else [*self._by_task(query, key[0])]
            for rowid in found:
                if after is None or (*key, rowid) < after:
                    yield (*key, rowid)

    def _by_task(self, query: TextQuery, text_id: int) -> Iterator[int]:
        rows = self._connection.execute(
            "SELECT attempts.rowid AS number, attempts.text_id AS answer"
            " FROM runs JOIN attempts USING (run_id) WHERE runs.text_id = ? ORDER BY attempts.rowid DESC",
            (text_id,),
        ).fetchall()
        for row in rows:
            if row["answer"] is None or not query.is_in(self._connection, row["answer"]):
                yield row["number"]

    def _hit(self, query: TextQuery, row: sqlite3.Row) -> Hit:
        excerpt = query.excerpt(self._connection, row["text_id"])
        fields = {name: row[name] for name in Hit.model_fields if name != "excerpt"}
        return self._reader.readable(lambda: Hit(**fields, excerpt=excerpt), f"run {row['run_id']}")


def run_row(reader: LogReader, row: sqlite3.Row) -> RunRow:
    """Return what a listing shows of a run."""
    fields: dict[str, Any] = {name: row[name] for name in RunRow.model_fields}
    fields["status"] = reader.status(row)
    return reader.readable(lambda: RunRow(**fields), f"run {row['run_id']}")


def attempt_row(reader: LogReader, row: sqlite3.Row) -> AttemptRow:
    """Return what a listing shows of an attempt."""

    def build() -> AttemptRow:
        fields = {name: row[name] for name in AttemptRow.model_fields if name != "judge"}
        return AttemptRow(**fields, judge=JudgeUse.model_validate_json(row["verifier"]).model)

    return reader.readable(build, f"attempt {row['attempt_id']}")
