"""Finds attempts that are worth a reviewer's label."""

from __future__ import annotations

import json
import sqlite3

from hyperguild.adapters.store.filters import of_attempts
from hyperguild.adapters.store.listing import ATTEMPT_COLUMNS, attempt_row
from hyperguild.adapters.store.reading import LogReader
from hyperguild.adapters.store.search import add_text
from hyperguild.domain.review import AttemptRow, ReviewFilter


def to_review(
    reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter, reviewer: str, limit: int
) -> list[AttemptRow]:
    """Return candidates for a reviewer's labels."""
    fits = of_attempts(wanted, reader.dead_runs(connection))
    add_text(connection, fits, "attempts", wanted)
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
        ("1", "run_created_at DESC, attempt_id DESC"),
    ):
        rows = connection.execute(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE {fits.sql} AND {condition}"
            f" AND attempt_id NOT IN (SELECT value FROM json_each(?)) ORDER BY {order} LIMIT ?",
            [*fits.values, json.dumps(list(found)), limit],
        ).fetchall()
        found |= {row["attempt_id"]: attempt_row(reader, row) for row in rows}
    return list(found.values())
