"""Makes an attempt and, where it is decided so, one of the next tier beside it; one of them wins at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from hyperguild.agent.terms import LoopEnd
from hyperguild.domain.events import (
    SpeculationKind,
    SpeculationOutcome,
    SpeculationSettled,
    SpeculationStarted,
)
from hyperguild.domain.records import Attempt, SpeculationUse
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import StoreError
from hyperguild.orchestration.attempt_terms import AttemptPlan, Outcome
from hyperguild.orchestration.attempting import Attempting, OpenAttempt, cut_off_by
from hyperguild.orchestration.decide import NOT_LOADED, AheadPhase, Wait
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.run_record import RunRecord
from hyperguild.ports import Clock
from hyperguild.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Guess:
    """An attempt that may be begun before it is known to be needed; `begin` gives it its id and emitter."""

    kind: SpeculationKind
    model: str
    begin: Callable[[], tuple[AttemptPlan, Emitter]]


LookBeside = Callable[[AheadPhase, float], Awaitable[Guess | Wait]]
"""Decides what to begin beside an attempt: how far it has come, and for how many seconds it has gone on."""


class Speculating:
    """Makes one attempt, `ahead`, and perhaps another one beside it. Use it once.

    The first answer that is accepted wins (one that is begun while the other is judged waits for that verdict
    with its own): the other attempt is cancelled, its connection closed, and
    recorded as such with what it has used. Two are never accepted: who has a verdict is recorded before
    anybody else's is looked at. Without a winner both come to their own end. Cancelling cancels and records
    both, and passes on; where the log fails both are counted as cut off, and `StoreError` is raised.
    """

    def __init__(
        self,
        record: RunRecord,
        attempting: Attempting,
        verifier: Verifier,
        clock: Clock,
        look: LookBeside,
    ) -> None:
        self._record = record
        self._attempting = attempting
        self._verifier = verifier
        self._clock = clock
        self._look = look
        self._turn = asyncio.Lock()
        self._lanes: list[_Lane] = []

    async def run(self, plan: AttemptPlan, emit: Emitter) -> None:
        """Make the attempt that is planned, and see what may be begun beside it."""
        ahead = self._start(plan, emit)
        began: _Begun | None = None
        try:
            guess = await self._guess_beside(ahead)
            if guess is not None:
                began = self._begin(guess, ahead)
            await self._all_ended()
        except StoreError as error:
            self._give_up(cut_off_by(error))
            raise
        finally:
            await self._stop()
            if began is not None:
                self._record.count_speculation(began.told(ahead))

    async def _guess_beside(self, ahead: _Lane) -> Guess | None:
        """Return what is to be begun beside the attempt; None once that is too late."""
        while not ahead.task.done():
            ahead.moved.clear()
            decision = await self._look(ahead.phase, self._clock.monotonic() - ahead.began_s)
            if isinstance(decision, Guess):
                return None if ahead.task.done() else decision
            with suppress(TimeoutError):
                async with asyncio.timeout(decision.for_s):
                    await ahead.moved.wait()
        return None

    def _begin(self, guess: Guess, ahead: _Lane) -> _Begun:
        plan, emit = guess.begin()
        emit(SpeculationStarted, kind=guess.kind, what=guess.model)
        behind = ahead if guess.kind == "tier" else None
        return _Begun(guess, self._start(plan, emit, behind), emit)

    def _start(self, plan: AttemptPlan, emit: Emitter, behind: _Lane | None = None) -> _Lane:
        lane = _Lane(plan, self._clock.monotonic(), behind)
        lane.task = asyncio.create_task(self._make(lane, emit))
        lane.task.add_done_callback(lambda _: lane.moved.set())
        self._lanes.append(lane)
        return lane

    async def _make(self, lane: _Lane, emit: Emitter) -> None:
        """Make one of the attempts, from its beginning to its record."""
        async with self._attempting.open(lane.plan, emit) as attempt:
            lane.attempt = attempt
            reached = await attempt.generate()
            if isinstance(reached, LoopEnd):
                lane.is_judged = True
                lane.moved.set()
            if lane.behind is not None:
                lane.stood_s = self._clock.monotonic()
                await lane.behind.recorded.wait()
            judged = await attempt.judge(reached, self._verifier)
            async with self._turn:
                lane.ended_s = self._clock.monotonic()
                if isinstance(judged, Attempt) and judged.verdict == "accept":
                    lane.has_won = True
                    self._give_up(Outcome.lost_to(judged.model))
                await attempt.settle(judged)
        lane.recorded.set()

    async def _all_ended(self) -> None:
        """Wait until every attempt has ended or was stopped. Raises what any of them raises, at once."""
        under_way = {lane.task for lane in self._lanes}
        while under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not (task.cancelled() and any(lane.has_won for lane in self._lanes)):
                    task.result()

    def _give_up(self, outcome: Outcome) -> None:
        """Stop every attempt that has not ended."""
        for lane in self._lanes:
            if lane.ended_s is None:
                if lane.attempt is not None:
                    lane.attempt.give_up(outcome)
                lane.task.cancel()

    async def _stop(self) -> None:
        """Stop what is still under way, and wait until all is over and recorded."""
        for lane in self._lanes:
            lane.task.cancel()
        await asyncio.wait({lane.task for lane in self._lanes})
        for lane in self._lanes:
            lane.failure()  # raised already, or less to the point than what was


class _Lane:
    """One of the attempts: its task, and what is known of it at any moment. Times are of the run's clock.

    `moved` is set when it has an answer, or has ended. One that is `behind` another waits with its answer
    until that one is `recorded`; since `stood_s`.
    """

    task: asyncio.Task[None]

    def __init__(self, plan: AttemptPlan, began_s: float, behind: _Lane | None) -> None:
        self.plan = plan
        self.began_s = began_s
        self.behind = behind
        self.moved, self.recorded = asyncio.Event(), asyncio.Event()
        self.is_judged = False
        self.stood_s: float | None = None
        self.ended_s: float | None = None
        self.has_won = False
        self.attempt: OpenAttempt | None = None

    @property
    def phase(self) -> AheadPhase:
        """How far it has come."""
        if self.is_judged:
            return "judged"
        if self.plan.warm_state not in NOT_LOADED or (self.attempt is not None and self.attempt.answers):
            return "answering"
        return "cold"

    @property
    def used(self) -> tuple[Usage, float | None]:
        """What it has used in all, and what that cost in USD."""
        record = None if self.attempt is None else self.attempt.on_record
        return (Usage(), 0.0) if record is None else (record.whole_usage, total_cost_usd(record.costs_usd))

    def failure(self) -> BaseException | None:
        """Return what its task has raised, if it has ended so."""
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A guess that was begun."""

    guess: Guess
    lane: _Lane
    emit: Emitter

    def told(self, ahead: _Lane) -> SpeculationUse:
        """Tell what came of it, and return it; all is over by now."""
        ended, own = ahead.ended_s, self.lane.ended_s
        wasted: Usage = Usage()
        wasted_usd: float | None = 0.0
        outcome: SpeculationOutcome = "cancelled"
        if self.lane.has_won or (ended is not None and own is not None and not ahead.has_won):
            outcome = "hit"
        elif ahead.has_won:
            outcome = "miss"
        lost = ahead if self.lane.has_won else self.lane
        if outcome != "hit" or ended is None:
            wasted, wasted_usd = lost.used
        saved_ms: int | None = 0 if outcome == "miss" else None
        if outcome == "hit" and ended is not None and own is not None:
            saved_ms = round((min(ended, self.lane.stood_s or own) - self.lane.began_s) * 1000)
        self.emit(
            SpeculationSettled,
            kind=self.guess.kind,
            what=self.guess.model,
            outcome=outcome,
            saved_ms=saved_ms,
            wasted=wasted,
            wasted_usd=wasted_usd,
        )
        return SpeculationUse(
            hits=int(outcome == "hit"),
            misses=int(outcome == "miss"),
            wasted_tokens=wasted.tokens,
            wasted_usd=wasted_usd,
            saved_ms=saved_ms or 0,
        )
