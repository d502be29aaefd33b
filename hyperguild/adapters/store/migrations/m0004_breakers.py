"""Who is not asked for a while, so that the next process knows."""

from __future__ import annotations

DONE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'breakers'"

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE breakers (
        key TEXT NOT NULL UNIQUE,
        endpoint TEXT NOT NULL,
        model TEXT,
        failures INTEGER NOT NULL,
        openings INTEGER NOT NULL,
        since TEXT,
        opened_at TEXT,
        open_until TEXT,
        error_kind TEXT,
        error TEXT NOT NULL,
        changed_at TEXT NOT NULL
    )
    """,
)
