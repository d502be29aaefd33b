"""Makes the attempts of a run: in their workplaces, on record whatever happens, their work settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from hyperguild.agent.terms import LoopEnd, LoopTools
from hyperguild.agent.toolbox import Toolbox
from hyperguild.domain.records import Attempt, ErrorInfo
from hyperguild.errors import StoreError
from hyperguild.orchestration.attempt import AttemptUnderWay
from hyperguild.orchestration.attempt_terms import CANCELLED, AttemptPlan, Outcome, Pause
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.delegating import Delegating
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.resume import handed_in
from hyperguild.orchestration.run_record import RunRecord
from hyperguild.orchestration.workplace import Workplace, open_workplace
from hyperguild.verification.verifier import Verifier


class OpenAttempt:
    """An attempt in its workplace: `generate`, then `conclude`, or `judge` and `settle`.

    Another attempt may be open at the same time, and begin or end between any two of these. `on_record` is
    how it ended, None before.
    """

    def __init__(
        self, under_way: AttemptUnderWay, place: Workplace, record: RunRecord, emit: Emitter
    ) -> None:
        self._under_way = under_way
        self._place = place
        self._record = record
        self._emit = emit
        self._is_over = False
        self._given_up: Outcome | None = None
        self.on_record: Attempt | None = None

    @property
    def answers(self) -> bool:
        """Whether its model has been loaded since, or has begun to speak."""
        return self._under_way.answers

    def give_up(self, outcome: Outcome) -> None:
        """Let it be recorded so where it is cancelled from now on: it is not the caller who does that."""
        self._given_up = outcome

    async def generate(self) -> LoopEnd | Attempt | Pause:
        """Return an answer that is to be verified; or how the attempt ended, or pauses, without one."""
        return await self._under_way.generate()

    async def conclude(self, reached: LoopEnd | Attempt | Pause, verifier: Verifier) -> Pause | None:
        """Bring it to its end, put it on record and settle its work; or return why it pauses.

        Raises `StoreError` where it cannot be recorded: what it changed is then put aside.
        """
        return await self.settle(await self.judge(reached, verifier))

    async def judge(self, reached: LoopEnd | Attempt | Pause, verifier: Verifier) -> Attempt | Pause:
        """Return the attempt with its verdict, if it has an answer; nothing is on record yet."""
        return await self._under_way.verify(verifier, reached) if isinstance(reached, LoopEnd) else reached

    async def settle(self, judged: Attempt | Pause) -> Pause | None:
        """Put it on record and settle its work, or return why it pauses. Raises `StoreError`."""
        if isinstance(judged, Pause):
            self._is_over = True
            await self._place.settle(accepted=None)
            return judged
        await self._put_on_record(judged)
        await self._place.settle(accepted=judged.verdict == "accept")
        return None

    async def cancelled(self) -> None:
        """Record it as cancelled, unless it has come to its end; what it changed is put aside."""
        if not self._is_over:
            self._record.cancelled = self._record.cancelled or self._given_up is None
            await self._put_on_record(self._under_way.record(self._given_up or CANCELLED))
            await self._place.settle(accepted=None)

    async def cut_off(self, error: StoreError) -> None:
        """Count it as cut off, unless it has come to its end; what it changed is put aside."""
        if not self._is_over:
            self._record.attempts.append(self._under_way.record(cut_off_by(error)))
            await self._place.settle(accepted=None)

    async def _put_on_record(self, attempt: Attempt) -> None:
        """Record the attempt; where that fails, what it changed is not merged but put aside."""
        self._is_over = True
        self.on_record = attempt
        try:
            await self._record.add(attempt, self._under_way.open_steps, self._emit)
        except StoreError:
            await self._place.settle(accepted=None)
            raise


class Attempting:
    """Opens the attempts of one run."""

    def __init__(self, run: RunContext, record: RunRecord, delegating: Delegating) -> None:
        self._run = run
        self._record = record
        self._delegating = delegating

    @asynccontextmanager
    async def open(self, plan: AttemptPlan, emit: Emitter) -> AsyncGenerator[OpenAttempt, None]:
        """Open a workplace for what is planned, and the attempt in it. Nothing is asked of a model yet.

        Where the block is cancelled, the attempt is recorded as cancelled; where the log fails in it, it
        counts as cut off. Raises `UsageError` where the work directory cannot be used, and `StoreError`.
        """
        run, tools = self._run, self._run.tools
        began = tools.clock.monotonic()
        goes_on = plan.under_way is not None
        async with open_workplace(run, plan.tier, emit, goes_on=goes_on) as place:
            if plan.time_left_s is not None:  # servers of tools may have had to be started
                passed_s = tools.clock.monotonic() - began
                plan = replace(plan, time_left_s=max(plan.time_left_s - passed_s, 0.0))
            plan = replace(await self._taken_up(plan, place), folder=place.folder)
            given = await self._delegating.beside(place, plan.tier, lambda: under_way, emit)
            toolbox = Toolbox(given.tools, given.rules, tools.clock, run.request.external_tools)
            hooks = tools.hooks(place.folder)
            predictor = tools.predictors(run.request.skill) if given.tools else None
            loop_tools = LoopTools(
                tools.caller, toolbox, tools.clock, tools.ids, hooks, tools.models, predictor
            )
            under_way = AttemptUnderWay(plan, emit, loop_tools, self._record.keep_step)
            await self._delegating.count_earlier(under_way, self._record.attempts)
            attempt = OpenAttempt(under_way, place, self._record, emit)
            try:
                yield attempt
            except asyncio.CancelledError:
                await attempt.cancelled()
                raise
            except StoreError as error:
                await attempt.cut_off(error)
                raise

    async def _taken_up(self, plan: AttemptPlan, place: Workplace) -> AttemptPlan:
        """Fit what goes on to what it finds. What it has not been told before is durable beforehand."""
        if plan.under_way is None:
            return plan
        under_way = await place.fitted(plan.under_way)
        if under_way.handed_in:
            await self._record.keep_step(handed_in(under_way, self._run.tools.ids, self._run.tools.clock))
        return replace(plan, under_way=under_way)


def cut_off_by(error: StoreError) -> Outcome:
    """Return the outcome of an attempt that ends because the log fails."""
    return Outcome.failed(ErrorInfo(kind="cancelled", message=f"cut off: {error.message}"))
