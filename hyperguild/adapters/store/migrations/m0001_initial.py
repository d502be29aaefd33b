"""Sessions, runs, attempts and steps.

Columns are named as the fields of the contract (section 4). Times are ISO 8601 in UTC with milliseconds,
nested values JSON. What stands already is kept: version 0 is also what a file says whose tables were brought
back from a dump, for a dump does not carry `user_version`.
"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE IF NOT EXISTS sessions (
        session_id TEXT NOT NULL,
        created_at TEXT NOT NULL,
        title TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS runs (
        run_id TEXT NOT NULL,
        session_id TEXT NOT NULL REFERENCES sessions (session_id),
        schema_version INTEGER NOT NULL,
        skill TEXT NOT NULL,
        chain TEXT NOT NULL,
        status TEXT NOT NULL,
        output TEXT,
        model TEXT,
        tier TEXT,
        duration_ms INTEGER NOT NULL,
        best_attempt_id TEXT,
        usage TEXT NOT NULL,
        cost_usd REAL,
        task TEXT,
        images INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        finished_at TEXT,
        lease_expires_at TEXT NOT NULL,
        pid INTEGER,
        host TEXT,
        process_started TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS attempts (
        attempt_id TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        model TEXT NOT NULL,
        tier TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        warm_state TEXT,
        warm_start INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        load_ms INTEGER,
        first_token_ms INTEGER,
        verify_ms INTEGER,
        verdict TEXT NOT NULL,
        cause TEXT,
        score REAL,
        feedback TEXT NOT NULL,
        answer TEXT NOT NULL,
        finish_reason TEXT,
        retries INTEGER NOT NULL,
        checks TEXT NOT NULL,
        error TEXT,
        usage TEXT NOT NULL,
        cost_usd REAL,
        verifier TEXT NOT NULL,
        started_at TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS steps (
        step_id TEXT NOT NULL,
        attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        messages TEXT NOT NULL,
        usage TEXT NOT NULL,
        context_limit INTEGER,
        duration_ms INTEGER NOT NULL,
        pending_tool_calls TEXT NOT NULL,
        created_at TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS sessions_session_id ON sessions (session_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS runs_run_id ON runs (run_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS attempts_attempt_id ON attempts (attempt_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS steps_step_id ON steps (step_id)",
    "CREATE INDEX IF NOT EXISTS runs_session_id ON runs (session_id, created_at)",
    "CREATE INDEX IF NOT EXISTS runs_created_at ON runs (created_at)",
    "CREATE INDEX IF NOT EXISTS runs_running ON runs (status) WHERE status = 'running'",
    "CREATE INDEX IF NOT EXISTS attempts_run_id ON attempts (run_id)",
    "CREATE INDEX IF NOT EXISTS steps_attempt_id ON steps (attempt_id)",
)
