"""Session logs that are filled, and then damaged."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from hyperguild.adapters.store.connection import open_for_writing

RUNS, ATTEMPTS = 60, 240
PAGE = 4096


def fill(connection: sqlite3.Connection, runs: int = RUNS, attempts: int = ATTEMPTS) -> None:
    """Write runs of a few sessions, each with attempts and steps as long as real ones."""
    for number in range(runs):
        session, at = f"session-{number // 3}", f"2026-02-01T00:{number % 60:02}:00.000Z"
        connection.execute(
            "INSERT OR IGNORE INTO sessions (session_id, created_at, title) VALUES (?, ?, 'a task')",
            (session, at),
        )
        connection.execute(
            "INSERT INTO runs (run_id, session_id, schema_version, skill, chain, status, duration_ms, usage,"
            " images, created_at, lease_expires_at) VALUES (?, ?, 1, 's', 'c', ?, 0, '{}', 0, ?, ?)",
            (f"run-{number}", session, "running" if number == runs - 1 else "accepted", at, at),
        )
    for number in range(attempts):
        connection.execute(
            "INSERT INTO attempts (attempt_id, run_id, position, model, tier, endpoint, warm_start,"
            " duration_ms, verdict, feedback, answer, retries, checks, usage, verifier, started_at)"
            " VALUES (?, ?, 0, 'm', 'local', 'e', 0, 0, 'accept', '', ?, 0, '[]', '{}', '{}', ?)",
            (f"attempt-{number}", f"run-{number % runs}", f"answer {number} " * 100, "2026-02-01T00:00:00Z"),
        )
        connection.execute(
            "INSERT INTO steps (step_id, run_id, attempt_id, position, kind, anew, messages, usage,"
            " duration_ms, pending_tool_calls, created_at)"
            " VALUES (?, ?, ?, 0, 'step', 1, ?, '{}', 0, '[]', '2026-02-01T00:00:00Z')",
            (
                f"step-{number}",
                f"run-{number % runs}",
                f"attempt-{number}",
                json.dumps([{"role": "user", "content": "x" * 20_000 if number % 50 == 0 else "do"}]),
            ),
        )


def make_log(path: Path) -> Path:
    """Make a log that holds runs, attempts and steps."""
    with closing(open_for_writing(path, program_version="1.0")) as connection:
        connection.execute("BEGIN")
        fill(connection)
        connection.execute("COMMIT")
    return path


def spoil(path: Path, number: int, content: bytes = bytes(PAGE)) -> None:
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write(content)


def pages_of(path: Path, table: str, kind: bytes = b"\x0d") -> list[int]:
    """The numbers of the pages on which rows of a table start, in the order of the rows."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
            return [number for (number,) in connection.execute(query, (table,))]
        except sqlite3.OperationalError:  # a build of SQLite without that table
            pass
    content = path.read_bytes()
    leaves = [n for n in range(1, len(content) // PAGE) if content[n * PAGE : n * PAGE + 1] == kind]
    return [n + 1 for n in leaves if f"{table.rstrip('s')}-".encode() in content[n * PAGE : (n + 1) * PAGE]]
