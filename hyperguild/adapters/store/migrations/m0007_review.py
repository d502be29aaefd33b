"""What looking at the log takes: labels, and columns and indexes that filters, pages and search read.

`attempts.skill`, `attempts.chain` and `attempts.run_created_at` are its run's; `attempts.label` is what
its labels come to, and `sessions.newest_run_id` its newest run: each kept beside what it is taken from, so
that one index answers. `text_id` numbers tasks and answers for the index of their words (`search_index`),
which can be made anew from these tables at any time. `upkeep` says what is still
to be done to them.
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
    "ALTER TABLE attempts ADD COLUMN run_created_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN label TEXT",
    "ALTER TABLE attempts ADD COLUMN text_id INTEGER",
    "ALTER TABLE runs ADD COLUMN text_id INTEGER",
    """
    UPDATE attempts SET (skill, chain, run_created_at) =
        (SELECT runs.skill, runs.chain, runs.created_at FROM runs WHERE runs.run_id = attempts.run_id)
    """,
    "ALTER TABLE sessions ADD COLUMN newest_run_id TEXT",
    """
    UPDATE sessions SET newest_run_id =
        (SELECT max(run_id) FROM runs WHERE runs.session_id = sessions.session_id)
    """,
    "CREATE TABLE upkeep (task TEXT NOT NULL UNIQUE)",
    "CREATE INDEX sessions_newest_run_id ON sessions (newest_run_id)",
    "CREATE INDEX runs_listed ON runs (skill, chain, status, created_at, run_id)",
    """
    CREATE INDEX attempts_listed
    ON attempts (skill, chain, model, tier, verdict, label, run_created_at, run_id)
    """,
    "CREATE UNIQUE INDEX runs_text_id ON runs (text_id) WHERE text_id IS NOT NULL",
    "CREATE UNIQUE INDEX attempts_text_id ON attempts (text_id) WHERE text_id IS NOT NULL",
)
