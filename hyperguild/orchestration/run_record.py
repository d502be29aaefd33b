"""The record of a run: durable first, told afterwards; and what is told where the log fails."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.domain.events import AttemptFinished, RunFinished, RunStarted
from hyperguild.domain.records import (
    Attempt,
    RunResult,
    RunStart,
    RunStatus,
    SpeculationUse,
    Step,
    UnrecordedRunError,
)
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import StoreError
from hyperguild.orchestration.attempt_terms import Pause
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.decide import accepted_attempt
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.lease import lease_end
from hyperguild.orchestration.resume import Continuation, prompt_record
from hyperguild.orchestration.shared_breakers import SharedBreakers


class RunRecord:
    """What one run has come to. `attempts` are all of it so far, skips included, in the order they ended.

    `begun`: the log knows of the run. Whoever sees the run cancelled sets `cancelled`.
    """

    def __init__(
        self, run: RunContext, breakers: SharedBreakers, continuation: Continuation | None = None
    ) -> None:
        self._run = run
        self._store = run.tools.store
        self._breakers = breakers
        self._earlier_ms = 0 if continuation is None else continuation.earlier_ms
        self._reached: RunResult | None = None
        self.attempts: list[Attempt] = [] if continuation is None else list(continuation.attempts)
        self.begun = continuation is not None
        self._speculation = None if continuation is None else continuation.speculation
        self.cancelled = False

    async def begin(self, task: str) -> None:
        """Record that the run begins, unless it is continued. Raises `StoreError`."""
        run = self._run
        if not self.begun:
            await self._store.start_run(self._start(task))
        self.begun = True
        parent_run_id = run.request.parent_run_id
        run.emit(RunStarted, skill=run.request.skill, chain=run.chain.name, parent_run_id=parent_run_id)

    async def keep_step(self, step: Step) -> None:
        """Record a step of an attempt that is under way. Raises `StoreError`."""
        await self._store.record_step(self._run.run_id, step)

    async def add(self, attempt: Attempt, steps: Sequence[Step], emit: Emitter) -> None:
        """Record an attempt and those of its steps that are not durable yet. Raises `StoreError`.

        Where it does, the attempt counts all the same.
        """
        self.attempts.append(attempt)
        await self._store.record_attempt(self._run.run_id, attempt, steps)
        await self._breakers.save(emit)
        emit(AttemptFinished, attempt=attempt)

    def count_speculation(self, use: SpeculationUse) -> None:
        """Count what came of work that was begun before it was needed; durable once the run ends."""
        self._speculation = use if self._speculation is None else self._speculation + use

    async def finish(
        self, status: RunStatus, chosen: Attempt | None = None, pause: Pause | None = None
    ) -> RunResult:
        """Record how the run ended. Raises `StoreError`; `unrecorded` then still knows it."""
        result = self._reached = self._result(status, chosen, pause)
        await self._store.finish_run(result, self._run.tools.clock.now())
        self._run.emit(RunFinished, result=result)
        return result

    def unrecorded(self, error: StoreError) -> UnrecordedRunError:
        """End a run whose log fails; return the error with its result, as far as it came."""
        result = self._reached or self._as_far_as_it_came()
        self._run.emit(RunFinished, result=result)
        return UnrecordedRunError(error, result)

    def _as_far_as_it_came(self) -> RunResult:
        accepted = accepted_attempt(self.attempts)
        if accepted is not None:
            return self._result("accepted", accepted)
        return self._result("cancelled" if self.cancelled else "interrupted", None)

    def _result(self, status: RunStatus, chosen: Attempt | None, pause: Pause | None = None) -> RunResult:
        run = self._run
        paused = () if pause is None else (pause.attempt,)
        attempts = (*self.attempts, *paused)
        answered = chosen if status in {"accepted", "best_effort"} else None
        return RunResult(
            run_id=run.run_id,
            session_id=run.session_id,
            skill=run.request.skill,
            chain=run.chain.name,
            status=status,
            output=answered.answer if answered else None,
            model=answered.model if answered else None,
            tier=answered.tier if answered else None,
            duration_ms=self._earlier_ms + round(run.elapsed_s() * 1000),
            best_attempt_id=chosen.attempt_id if chosen else None,
            usage=sum((attempt.whole_usage for attempt in attempts), Usage()),
            cost_usd=total_cost_usd(cost for one in attempts for cost in one.costs_usd),
            attempts=tuple(self.attempts),
            pending_tool_calls=() if pause is None else pause.calls,
            speculation=self._speculation,
        )

    def _start(self, task: str) -> RunStart:
        run, clock = self._run, self._run.tools.clock
        return RunStart(
            run_id=run.run_id,
            session_id=run.session_id,
            skill=run.request.skill,
            chain=run.chain.name,
            task=task,
            images=len(run.request.task.images),
            parent_run_id=run.request.parent_run_id,
            options={**run.request.options, "prompt": prompt_record(run.request)},
            created_at=clock.now(),
            lease_expires_at=lease_end(clock),
        )
