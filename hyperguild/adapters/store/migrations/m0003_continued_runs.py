"""What a run needs to be continued, who delegated it, and which models answered within an attempt."""

from __future__ import annotations

DONE = "SELECT 1 FROM pragma_table_info('runs') WHERE name = 'parent_run_id'"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE attempts ADD COLUMN asides TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE steps ADD COLUMN model TEXT",
    "ALTER TABLE steps ADD COLUMN finish_reason TEXT",
    "ALTER TABLE runs ADD COLUMN pending_tool_calls TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE runs ADD COLUMN options TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE runs ADD COLUMN parent_run_id TEXT",
)
