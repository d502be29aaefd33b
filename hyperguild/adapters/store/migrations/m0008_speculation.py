"""What came of the work that a run began before it was needed."""

from __future__ import annotations

DONE = "SELECT 1 FROM pragma_table_info('runs') WHERE name = 'speculation'"

STATEMENTS: tuple[str, ...] = ("ALTER TABLE runs ADD COLUMN speculation TEXT",)
