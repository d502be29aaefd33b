"""Writes session logs to look back at, and tells what a naive reader would find in them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import Attempt, RunResult, RunStart
from hyperguild.domain.review import Page, ReviewFilter
from hyperguild.domain.secrets import Scrubber

T = TypeVar("T")

BEGIN = datetime(2026, 1, 30, 22, 0, tzinfo=UTC)
SKILLS, CHAINS = ("review", "debug", "tests"), ("code", "default")
MODELS = (("phi4", "local"), ("qwen", "local"), ("claude-opus", "subagent"))
VERDICTS = ("accept", "escalate", "error", "skip")
STATUSES = ("accepted", "exhausted", "cancelled")
LABELS = (None, None, None, "good", "bad", "disputed")
WORDS = ("alpha", "beta", "gamma", "delta", "snake_case", "漢字", "naïve")


@dataclass
class LogClock:
    """A clock that the test sets; also the source of ids of that time."""

    time: datetime = BEGIN
    drawn: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  # repeatable

    def monotonic(self) -> float:
        return self.time.timestamp()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def ids(self) -> Uuid7Source:
        return Uuid7Source(
            now_ms=lambda: int(self.time.timestamp() * 1000), random_bytes=self.drawn.randbytes
        )


@dataclass(frozen=True)
class Tried:
    """An attempt as it was written, with its label."""

    attempt: Attempt
    label: str | None


@dataclass(frozen=True)
class Ran:
    """A run as it was written."""

    start: RunStart
    status: str
    cost_usd: float
    attempts: tuple[Tried, ...]


async def open_sessions(path: Path, clock: LogClock, log: LogPolicy | None = None) -> SqliteSessionStore:
    return await SqliteSessionStore.open(path, scrubber=Scrubber(), log=log or LogPolicy(), clock=clock)


async def open_review(path: Path, clock: LogClock, *, read_only: bool = True) -> SqliteReviewStore:
    return await SqliteReviewStore.open(
        path, scrubber=Scrubber(), clock=clock, ids=clock.ids(), read_only=read_only
    )


class LogWriter:
    """Writes runs with drawn values, one after the other, some hours apart."""

    def __init__(self, path: Path, clock: LogClock, seed: int = 1) -> None:
        self.path = path
        self.clock = clock
        self.ran: list[Ran] = []
        self._draw = random.Random(seed)  # noqa: S311  # repeatable
        self._ids = clock.ids()
        self._sessions = [self._ids.new_id() for _ in range(4)]

    async def write(self, runs: int, **changes: Any) -> None:
        """Write so many runs; `changes` are fields of their `RunStart`."""
        store = await open_sessions(self.path, self.clock)
        try:
            for _ in range(runs):
                self.ran.append(await self._run(store, changes))
        finally:
            await store.aclose()
        with closing(sqlite3.connect(self.path)) as connection, connection:
            labels = [(one.label, one.attempt.attempt_id) for run in self.ran for one in run.attempts]
            connection.executemany("UPDATE attempts SET label = ? WHERE attempt_id = ?", labels)

    async def _run(self, store: SqliteSessionStore, changes: dict[str, Any]) -> Ran:
        draw, now = self._draw, self.clock.now()
        fields: dict[str, Any] = {
            "run_id": self._ids.new_id(),
            "session_id": draw.choice(self._sessions),
            "skill": draw.choice(SKILLS),
            "chain": draw.choice(CHAINS),
            "task": self._text(),
            "created_at": now,
            "lease_expires_at": now + timedelta(seconds=15),
        }
        start = RunStart(**fields | changes)
        await store.start_run(start)
        tried = [self._attempt(position) for position in range(draw.randrange(4))]
        for one in tried:
            await store.record_attempt(start.run_id, one.attempt, ())
        cost = sum(one.attempt.cost_usd or 0.0 for one in tried)
        status = draw.choice((*STATUSES, "interrupted"))
        if status != "interrupted":  # its lease runs out
            names = {name: getattr(start, name) for name in ("run_id", "session_id", "skill", "chain")}
            best = tried[-1].attempt.attempt_id if tried else None
            await store.finish_run(
                RunResult(**names, status=status, cost_usd=cost, best_attempt_id=best), self.clock.now()
            )
        self.clock.time += timedelta(hours=draw.choice((0, 1, 5, 30)), seconds=20)
        return Ran(start, status, cost, tuple(tried))

    def _attempt(self, position: int) -> Tried:
        draw = self._draw
        model, tier = draw.choice(MODELS)
        verdict = draw.choice(VERDICTS)
        judged = verdict in ("accept", "escalate")
        attempt = Attempt.model_validate(
            {
                "attempt_id": self._ids.new_id(),
                "position": position,
                "model": model,
                "tier": tier,
                "endpoint": "swap",
                "verdict": verdict,
                "score": draw.random() if judged else None,
                "answer": self._text() if judged else "",
                "cost_usd": draw.choice((0.0, 0.25, 0.5)),
                "started_at": self.clock.now(),
            }
        )
        return Tried(attempt, draw.choice(LABELS) if judged else None)

    def _text(self) -> str:
        return " ".join(self._draw.choices(WORDS, k=4))


async def all_of(ask: Callable[..., Awaitable[Page[T]]], wanted: ReviewFilter, *, limit: int = 3) -> list[T]:
    """Return the items of all pages."""
    found: list[T] = []
    after: str | None = None
    while True:
        page = await ask(wanted, limit=limit, after=after)
        assert len(page.items) <= limit
        found += page.items
        after = page.after
        if after is None:
            return found


def attempt_fits(wanted: ReviewFilter, run: Ran, one: Tried) -> bool:
    """What `ReviewFilter` says, of an attempt, the text aside."""
    low, high = wanted.min_cost_usd, wanted.max_cost_usd
    cost = one.attempt.cost_usd or 0.0
    return (
        outcome_fits(wanted, one)
        and _run_values_fit(wanted, run)
        and (low is None or cost >= low)
        and (high is None or cost <= high)
    )


def run_fits(wanted: ReviewFilter, run: Ran) -> bool:
    """What `ReviewFilter` says, of a run, the text aside."""
    low, high = wanted.min_cost_usd, wanted.max_cost_usd
    asks = wanted.models or wanted.tiers or wanted.verdicts or wanted.labels
    return (
        _run_values_fit(wanted, run)
        and (not asks or any(outcome_fits(wanted, one) for one in run.attempts))
        and (low is None or run.cost_usd >= low)
        and (high is None or run.cost_usd <= high)
    )


def outcome_fits(wanted: ReviewFilter, one: Tried) -> bool:
    return (
        _is_among(one.attempt.model, wanted.models)
        and _is_among(one.attempt.tier, wanted.tiers)
        and _is_among(one.attempt.verdict, wanted.verdicts)
        and _is_among(one.label or "none", wanted.labels)
    )


def has_words(text: str, query: str) -> bool:
    return set(query.split()) <= set(text.split())


def _run_values_fit(wanted: ReviewFilter, run: Ran) -> bool:
    at = run.start.created_at
    return (
        _is_among(run.start.skill, wanted.skills)
        and _is_among(run.start.chain, wanted.chains)
        and _is_among(run.status, wanted.statuses)
        and (wanted.session_id in (None, run.start.session_id))
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at < wanted.until)
    )


def _is_among(value: str, wanted: Sequence[str]) -> bool:
    return not wanted or value in wanted
