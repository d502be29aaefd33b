"""Writes a session log of judged and labelled attempts, through the stores that the program uses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import Attempt, JudgeUse, RunResult, RunStart
from hyperguild.domain.review import EVERYTHING, LabelValue, RunFact
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage, total_cost_usd

NOW = datetime.now(UTC).replace(microsecond=0)


class JudgedLog:
    """Collects runs, then writes them in one go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: Uuid7Source = system_ids(SystemClock())
        self._runs: list[tuple[RunResult, datetime, str | None]] = []
        self._labels: list[tuple[str, LabelValue]] = []

    def attempt(self, model: str = "phi4", **fields: Any) -> Attempt:
        known = {
            "attempt_id": self.ids.new_id(),
            "position": 0,
            "model": model,
            "tier": "local",
            "endpoint": "swap",
            "verdict": "accept",
            "answer": "fine",
            "duration_ms": 1000,
            "first_token_ms": 100,
            "started_at": NOW,
        }
        return Attempt.model_validate(known | fields)

    def judged(
        self, score: float, label: LabelValue | None = None, *, judge: dict[str, Any] | None = None
    ) -> Attempt:
        """Return an attempt that was judged at 0.7, and keep what a reviewer says of it."""
        use = {"model": "qwen3-8b", "accepts": True, "accept_at": 0.7, **(judge or {})}
        accepted = use["accepts"] is not False and score >= 0.7
        verdict = {"verdict": "accept"} if accepted else {"verdict": "escalate", "cause": "rejected"}
        attempt = self.attempt(score=score, verify_ms=100, verifier=JudgeUse.model_validate(use), **verdict)
        if label is not None:
            self._labels.append((attempt.attempt_id, label))
        return attempt

    def run(
        self,
        *attempts: Attempt,
        age: timedelta = timedelta(minutes=5),
        parent: str | None = None,
        **fields: Any,
    ) -> str:
        """Take a run; return its id."""
        known = {
            "run_id": self.ids.new_id(),
            "session_id": self.ids.new_id(),
            "skill": "review",
            "chain": "code",
            "status": "accepted" if any(one.verdict == "accept" for one in attempts) else "exhausted",
            "duration_ms": sum(attempt.duration_ms for attempt in attempts),
            "usage": sum((attempt.whole_usage for attempt in attempts), Usage()),
            "cost_usd": total_cost_usd(cost for attempt in attempts for cost in attempt.costs_usd),
            "attempts": attempts,
        }
        result = RunResult.model_validate(known | fields)
        self._runs.append((result, NOW - age, parent))
        return result.run_id

    def write(self) -> None:
        """Write all runs and labels."""
        asyncio.run(self.written())

    async def facts(self) -> list[RunFact]:
        """Read everything back as statistics and calibration do."""
        store = await self._review()
        try:
            return [fact async for batch in store.run_facts(EVERYTHING) for fact in batch]
        finally:
            await store.aclose()

    async def written(self) -> None:
        """Write all runs and labels, within a loop."""
        store = await SqliteSessionStore.open(
            self.path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock()
        )
        for result, began, parent in self._runs:
            start = result.model_dump(include={"run_id", "session_id", "skill", "chain"})
            await store.start_run(
                RunStart(
                    **start,
                    task="Review this.",
                    parent_run_id=parent,
                    created_at=began,
                    lease_expires_at=began,
                )
            )
            for attempt in result.attempts:
                await store.record_attempt(result.run_id, attempt, ())
            await store.finish_run(result, began + timedelta(seconds=9))
        await store.aclose()
        review = await self._review(read_only=False)
        for attempt_id, label in self._labels:
            await review.label(attempt_id, label, reviewer="ada", note="")
        await review.aclose()

    async def _review(self, *, read_only: bool = True) -> SqliteReviewStore:
        return await SqliteReviewStore.open(
            self.path, scrubber=Scrubber(), clock=SystemClock(), ids=self.ids, read_only=read_only
        )
