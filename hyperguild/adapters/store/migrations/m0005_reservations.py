"""What runs have set aside of limits that they share, and spent without an attempt on record to show it.

`settled` 0: a call that is under way, with the most it may take; 1: with what it used. `day` is that of the
reservation, `run_day` that on which the run (for a delegated one: its parent, `root_run_id`) began.
`recorded` 1: an attempt on record has the amount too, but counts for another day.
"""

from __future__ import annotations

DONE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'reservations'"

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE reservations (
        reservation_id TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        root_run_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        run_day TEXT NOT NULL,
        day TEXT NOT NULL,
        cost_usd REAL NOT NULL,
        tokens INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        settled INTEGER NOT NULL DEFAULT 0,
        recorded INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX reservations_reservation_id ON reservations (reservation_id)",
    "CREATE INDEX reservations_run_id ON reservations (run_id)",
    "CREATE INDEX reservations_root_run_id ON reservations (root_run_id)",
)
