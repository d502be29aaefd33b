"""What a run needs to be continued, who delegated it, and what other models an attempt asked."""

from __future__ import annotations

DONE = "SELECT 1 FROM pragma_table_info('runs') WHERE name = 'parent_run_id'"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE attempts ADD COLUMN asides TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE runs ADD COLUMN pending_tool_calls TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE runs ADD COLUMN options TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE runs ADD COLUMN parent_run_id TEXT",
)
