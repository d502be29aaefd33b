"""What reviewers say of attempts: rows of the table `labels`, to which is only ever added.

Everything here runs in the store's thread, in a transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hyperguild.adapters.store.rows import storable, to_time
from hyperguild.domain.review import Label, consensus
from hyperguild.errors import UsageError

_AT_ONCE = 500
"""Attempts that one query asks about: SQLite bounds the values of a query."""


def add_label(connection: sqlite3.Connection, label: Label) -> None:
    """Add what a reviewer says, and keep what all labels of the attempt come to beside it.

    Raises `UsageError` where the log has no such attempt.
    """
    found = connection.execute("SELECT 1 FROM attempts WHERE attempt_id = ?", (label.attempt_id,)).fetchone()
    if found is None:
        raise UsageError(
            f"no attempt {label.attempt_id!r} in the session log",
            hint="`hyperguild sessions list --attempts` shows them",
        )
    row = label.model_dump() | {"created_at": to_time(label.created_at)}
    connection.execute(
        "INSERT INTO labels (label_id, attempt_id, reviewer, value, note, created_at)"
        " VALUES (:label_id, :attempt_id, :reviewer, :value, :note, :created_at)",
        storable(row),
    )
    history = read_labels(connection, [label.attempt_id])[label.attempt_id]
    connection.execute(
        "UPDATE attempts SET label = ? WHERE attempt_id = ?", (consensus(history), label.attempt_id)
    )


def read_labels(connection: sqlite3.Connection, attempt_ids: Sequence[str]) -> dict[str, tuple[Label, ...]]:
    """Return all that was ever said of each of these attempts, oldest first; those without are left out.

    Raises `ValueError` where a row does not hold what it should.
    """
    found: dict[str, list[Label]] = {}
    wanted = list(dict.fromkeys(attempt_ids))
    for at in range(0, len(wanted), _AT_ONCE):
        part = wanted[at : at + _AT_ONCE]
        places = ", ".join("?" * len(part))
        # Only the number of places is put in.
        query = f"SELECT * FROM labels WHERE attempt_id IN ({places}) ORDER BY rowid"  # noqa: S608 - see above
        for row in connection.execute(query, part):
            found.setdefault(row["attempt_id"], []).append(
                Label(**{name: row[name] for name in Label.model_fields})
            )
    return {attempt_id: tuple(labels) for attempt_id, labels in found.items()}
