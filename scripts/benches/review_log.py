"""Fills a session log for the bench: runs of a year, whose values are common, rare, or never meet."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.rows import to_time
from hyperguild.adapters.store.search_index import keep_index

BEGIN, DAYS = datetime(2025, 10, 1, tzinfo=UTC), 365
RARE = 5_000
"""One run of so many has the rare skill, one attempt of so many the rare model."""

SKILLS = ("review", "debug", "tests", "summarize", "commit-message", "explain", "translate", "docs")
MODELS = (
    ("phi4", "local"),
    ("qwen3-8b", "local"),
    ("qwen-coder-32b", "local"),
    ("claude-sonnet-4-6", "subagent"),
    ("claude-opus-4", "subagent"),
)
TASK, ANSWER = 4, 8
_AT_ONCE = 2_000
_WORDS, _SENTENCES = 30_000, 20_000


@dataclass
class Texts:
    """Texts of words as often as they are in a language, the nth at 1/n; and ids of the time that is set."""

    chance: random.Random
    now: datetime = BEGIN
    written: int = 0

    def __post_init__(self) -> None:
        """Make the texts; each is used again and again, with a name that no other has."""
        syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "ar", "en", "is")]
        words = list({"".join(self.chance.choices(syllables, k=2 + n % 3)): None for n in range(_WORDS)})
        weights = list(accumulate(1 / n for n in range(1, len(words) + 1)))
        self.sentences = [
            " ".join(self.chance.choices(words, cum_weights=weights, k=12)) + "." for _ in range(_SENTENCES)
        ]
        self.texts = {
            length: [" ".join(self.chance.choices(self.sentences, k=length)) for _ in range(_SENTENCES)]
            for length in (1, TASK, ANSWER)
        }

    def text(self, length: int) -> str:
        """Return a text of so many sentences, some 75 characters each."""
        return self.texts[length][int(_SENTENCES * self.chance.random())]

    def new_id(self) -> str:
        """Return a UUIDv7 of the time that is set."""
        digits = f"{int(self.now.timestamp() * 1000):012x}7{self.chance.getrandbits(76):019x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def number(self) -> int:
        """Return the next number of a text."""
        self.written += 1
        return self.written


def fill(path: Path, attempts: int, seed: int) -> None:
    """Write a log of so many attempts; two of five as many runs."""
    connection = open_for_writing(path, program_version="bench")
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("PRAGMA cache_size = -200000")
        runs = _runs(random.Random(seed), attempts)  # noqa: S311 - a bench is to be repeatable
        batch = []
        for run in runs:
            batch.append(run)
            if len(batch) == _AT_ONCE:
                _write(connection, batch)
                batch = []
        _write(connection, batch)
        keep_index(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


Run = tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]


def _runs(chance: random.Random, wanted: int) -> Iterator[Run]:
    texts = Texts(chance)
    step = timedelta(days=DAYS) / wanted
    written = 0
    session: dict[str, Any] = {}
    while written < wanted:
        texts.now = BEGIN + step * written
        at = to_time(texts.now)
        if not session or chance.random() < 0.6:
            session = {"session_id": texts.new_id(), "created_at": at, "title": texts.text(1)[:80]}
        run_id = texts.new_id()
        skill = (
            "rare-skill" if chance.random() < 1 / RARE else SKILLS[int(len(SKILLS) * chance.random() ** 2)]
        )
        chain = "code" if skill in ("review", "debug", "tests") else "default"
        task_number = texts.number()
        of_run = {"run_id": run_id, "skill": skill, "chain": chain}
        count = min(1 + int(4 * chance.random()), wanted - written)
        rows = [_attempt(chance, texts, of_run, position, at) for position in range(count)]
        last = rows[-1]
        run = {
            "run_id": run_id,
            "session_id": session["session_id"],
            "schema_version": 1,
            "skill": skill,
            "chain": chain,
            "status": "accepted"
            if last["verdict"] == "accept"
            else chance.choice(("exhausted", "cancelled")),
            "output": last["answer"] if last["verdict"] == "accept" else None,
            "model": last["model"],
            "tier": last["tier"],
            "duration_ms": sum(row["duration_ms"] for row in rows),
            "best_attempt_id": last["attempt_id"],
            "usage": '{"input_tokens":900,"output_tokens":300}',
            "cost_usd": sum(row["cost_usd"] for row in rows),
            "task": f"{texts.text(TASK)} ticket_{written}",
            "text_id": task_number,
            "images": 0,
            "created_at": at,
            "finished_at": at,
            "lease_expires_at": at,
        }
        written += len(rows)
        yield session | {"newest_run_id": run_id}, run, rows


def _attempt(
    chance: random.Random, texts: Texts, of_run: dict[str, Any], position: int, at: str
) -> dict[str, Any]:
    # The best model never summarizes: a filter for both fits nothing.
    models = MODELS[:-1] if of_run["skill"] == "summarize" else MODELS
    model, tier = models[min(position + int(2 * chance.random()), len(models) - 1)]
    if chance.random() < 1 / RARE:
        model, tier = "rare-model", "managed"
    verdict = chance.choices(("escalate", "accept", "error", "skip"), (50, 40, 7, 3))[0]
    judged = verdict in ("escalate", "accept")
    said = chance.choices((None, "good", "bad", "disputed"), (980, 14, 5, 1))[0] if judged else None
    return of_run | {
        "attempt_id": texts.new_id(),
        "position": position,
        "model": model,
        "tier": tier,
        "endpoint": "swap",
        "warm_start": 0,
        "duration_ms": int(30_000 * chance.random() ** 3),
        "verdict": verdict,
        "cause": {"escalate": "rejected", "error": "timeout", "skip": "cold"}.get(verdict),
        "score": round(chance.random(), 2) if judged else None,
        "feedback": texts.text(1) if verdict == "escalate" else "",
        "answer": f"{texts.text(ANSWER)} answer_{texts.written}" if judged else "",
        "finish_reason": "stop" if judged else None,
        "retries": 0,
        "checks": '[{"kind":"not_empty","passed":true,"message":""}]',
        "usage": '{"input_tokens":900,"output_tokens":300}',
        "cost_usd": 0.0 if tier == "local" else round(0.05 * chance.random() ** 4, 6),
        "verifier": '{"model":"qwen3-8b","usage":{"input_tokens":500,"output_tokens":40},"cost_usd":0.0}',
        "started_at": at,
        "run_created_at": at,
        "label": said,
        "text_id": texts.number() if judged else None,
    }


def _write(connection: sqlite3.Connection, batch: list[Run]) -> None:
    if not batch:
        return
    connection.execute("BEGIN IMMEDIATE")
    sessions = {session["session_id"]: session for session, _, _ in batch}
    for session in sessions.values():
        connection.execute(
            "INSERT INTO sessions (session_id, created_at, title, newest_run_id)"
            " VALUES (:session_id, :created_at, :title, :newest_run_id)"
            " ON CONFLICT (session_id) DO UPDATE SET newest_run_id = excluded.newest_run_id",
            session,
        )
    # Each run before its attempts: texts are numbered in the order in which they come.
    for _, run, attempts in batch:
        _insert(connection, "runs", [run])
        _insert(connection, "attempts", attempts)
    connection.execute("COMMIT")


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    columns, values = ", ".join(rows[0]), ", ".join(f":{column}" for column in rows[0])
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)  # noqa: S608 - our names
