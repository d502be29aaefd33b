"""Steps belong to their run, and are there before their attempt is: each is recorded as it ends."""

from __future__ import annotations

DONE = "SELECT 1 FROM pragma_table_info('steps') WHERE name = 'run_id'"

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE steps_of_runs (
        step_id TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        attempt_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL,
        anew INTEGER NOT NULL,
        messages TEXT NOT NULL,
        usage TEXT NOT NULL,
        context_limit INTEGER,
        duration_ms INTEGER NOT NULL,
        pending_tool_calls TEXT NOT NULL,
        created_at TEXT NOT NULL
    )
    """,
    """
    INSERT INTO steps_of_runs
    SELECT step_id, run_id, attempt_id, steps.position, 'step', 1, messages, steps.usage, context_limit,
        steps.duration_ms, pending_tool_calls, created_at
    FROM steps JOIN attempts USING (attempt_id) ORDER BY attempts.rowid, steps.position, steps.rowid
    """,
    "DROP TABLE steps",
    "ALTER TABLE steps_of_runs RENAME TO steps",
    "CREATE UNIQUE INDEX steps_step_id ON steps (step_id)",
    "CREATE INDEX steps_run_id ON steps (run_id)",
    "CREATE INDEX steps_attempt_id ON steps (attempt_id)",
)
