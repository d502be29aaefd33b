"""A session log on disk, filled with runs as a walk would record them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import Attempt, CheckResult, JudgeUse, RunResult, RunStart, RunStatus, Step
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage

NOW = datetime.now(UTC).replace(microsecond=0)
FEEDBACK = (
    "The answer names no line of the file and misses the file handle that load() never closes; "
    "the verdict contradicts the findings. Name the line, the fault and its remedy."
)
LONG_ANSWER = "\n".join(f"finding {number}" for number in range(1, 21))
HOSTILE = "\x1b]0;owned\x07\x1b[31m[bold]red[/bold] [link=x]y[/link]\x1b[0m \u202eback\u202c \x9b5m\ttail"


class Log:
    """A real session log, filled with runs."""

    def __init__(self, path: Path, content: Any = "full") -> None:
        self.path = path
        self._policy = LogPolicy(content=content)
        self._ids = Uuid7Source(
            now_ms=lambda: int(datetime.now(UTC).timestamp() * 1000), random_bytes=os.urandom
        )

    def attempt(self, model: str = "phi4", **fields: Any) -> Attempt:
        known = {
            "attempt_id": self._ids.new_id(),
            "position": 0,
            "model": model,
            "tier": "local",
            "endpoint": "swap",
            "verdict": "accept",
            "answer": "fine",
            "finish_reason": "stop",
            "duration_ms": 900,
            "first_token_ms": 100,
            "started_at": NOW,
        }
        return Attempt.model_validate({**known, **fields})

    def step(self, attempt: Attempt, prompt: str) -> Step:
        texts = (("system", "You review."), ("user", prompt), ("assistant", attempt.answer))
        return Step(
            step_id=self._ids.new_id(),
            attempt_id=attempt.attempt_id,
            position=0,
            messages=tuple({"role": role, "content": text} for role, text in texts),
            created_at=NOW,
        )

    def add(
        self,
        attempts: Sequence[tuple[Attempt, Sequence[Step]]],
        *,
        status: RunStatus = "accepted",
        task: str = "Review this file.",
        session_id: str | None = None,
        age: timedelta = timedelta(minutes=5),
        lease: timedelta = timedelta(seconds=15),
    ) -> RunResult:
        """Record a run as its walk would; one that is `running` gets no end."""
        last = attempts[-1][0] if attempts else None
        answered = last if status in {"accepted", "best_effort"} else None
        result = RunResult(
            run_id=self._ids.new_id(),
            session_id=session_id or self._ids.new_id(),
            skill="review",
            chain="code",
            status=status,
            output=answered.answer if answered else None,
            model=answered.model if answered else None,
            tier=answered.tier if answered else None,
            duration_ms=sum(attempt.duration_ms for attempt, _ in attempts),
            best_attempt_id=last.attempt_id if last else None,
            usage=Usage(input_tokens=1200, output_tokens=34),
            cost_usd=0.0042,
            attempts=tuple(attempt for attempt, _ in attempts),
        )
        asyncio.run(self._write(result, attempts, task, NOW - age, NOW - age + lease))
        return result

    async def _write(
        self,
        result: RunResult,
        attempts: Sequence[tuple[Attempt, Sequence[Step]]],
        task: str,
        began: datetime,
        lease_expires_at: datetime,
    ) -> None:
        store = await SqliteSessionStore.open(
            self.path, scrubber=Scrubber(), log=self._policy, clock=SystemClock()
        )
        start = RunStart(
            **result.model_dump(include={"run_id", "session_id", "skill", "chain"}),
            task=task,
            created_at=began,
            lease_expires_at=lease_expires_at,
        )
        await store.start_run(start)
        for attempt, steps in attempts:
            await store.record_attempt(result.run_id, attempt, steps)
        if result.status != "running":
            await store.finish_run(result, began + timedelta(seconds=9))
        await store.aclose()

    def walk(self) -> list[tuple[Attempt, list[Step]]]:
        """Three attempts: refused by the judge, skipped, accepted."""
        first = self.attempt(
            warm_state="cold",
            duration_ms=5230,
            load_ms=3900,
            first_token_ms=200,
            verify_ms=310,
            verdict="escalate",
            cause="rejected",
            score=0.35,
            feedback=FEEDBACK,
            answer=LONG_ANSWER,
            checks=(CheckResult(kind="not_empty", passed=True),),
            verifier=JudgeUse(model="qwen3-8b"),
        )
        second = self.attempt(
            "qwen-coder-32b",
            position=1,
            warm_state="cold",
            verdict="skip",
            cause="cold",
            feedback="it is not loaded, and when_cold is skip",
            answer="",
            duration_ms=0,
            first_token_ms=None,
        )
        third = self.attempt(
            "claude-sonnet-4-6", position=2, tier="subagent", duration_ms=2600, answer="Line 14 leaks."
        )
        told = f"Review this file.\n\n## Prior attempt feedback\nverifier: {FEEDBACK}"
        return [
            (first, [self.step(first, "Review this file.")]),
            (second, []),
            (third, [self.step(third, told)]),
        ]
