"""What looking at the log takes: labels, and columns and indexes that filters and pages read.

`attempts.skill` and `attempts.chain` are those of its run, `attempts.created_at` is when it began (where that
is not known, when its run did); `attempts.label` is what its labels come to, and `sessions.newest_run_id` its
newest run: each kept beside what it is taken from, so that one index answers.
"""

from __future__ import annotations

DONE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'labels'"

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE labels (
        label_id TEXT NOT NULL,
        attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,
        reviewer TEXT NOT NULL,
        value TEXT,
        note TEXT NOT NULL,
        created_at TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX labels_label_id ON labels (label_id)",
    "CREATE INDEX labels_attempt_id ON labels (attempt_id, reviewer)",
    "ALTER TABLE attempts ADD COLUMN skill TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN chain TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN created_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN label TEXT",
    """
    UPDATE attempts SET (skill, chain, created_at) =
        (SELECT runs.skill, runs.chain, coalesce(attempts.started_at, runs.created_at)
        FROM runs WHERE runs.run_id = attempts.run_id)
    """,
    "ALTER TABLE sessions ADD COLUMN newest_run_id TEXT",
    """
    UPDATE sessions SET newest_run_id =
        (SELECT max(run_id) FROM runs WHERE runs.session_id = sessions.session_id)
    """,
)
