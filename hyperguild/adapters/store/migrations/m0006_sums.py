"""What runs spent is added up for limits, before each request: from indexes that hold all that it takes.

Else SQLite reads every run of the day, past its answer, to what it cost.
"""

from __future__ import annotations

DONE = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'runs_spent_by_day'"

STATEMENTS: tuple[str, ...] = (
    "CREATE INDEX runs_spent_by_day ON runs (created_at, parent_run_id, run_id, cost_usd, usage)",
    "CREATE INDEX runs_spent_by_session ON runs (session_id, parent_run_id, run_id, cost_usd, usage)",
    "CREATE INDEX attempts_verdict ON attempts (run_id, verdict)",
    "DROP INDEX IF EXISTS attempts_run_id",
    "DROP INDEX IF EXISTS runs_created_at",
)
