"""Performs what `decide` decides: probes, tries, records, and ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hyperguild.domain.chain import Tier
from hyperguild.domain.events import AttemptStarted, Probed, Route, RoutedTier, VerdictGiven
from hyperguild.domain.limits import Refusal
from hyperguild.domain.messages import Message
from hyperguild.domain.records import Attempt, RunResult, WarmState
from hyperguild.domain.run import RunRequest
from hyperguild.domain.usage import Usage
from hyperguild.errors import StoreError, UsageError
from hyperguild.inference.background import background
from hyperguild.orchestration.attempt_terms import AttemptPlan, Pause
from hyperguild.orchestration.attempting import Attempting
from hyperguild.orchestration.context import RunContext, Tools, may_speculate, open_run
from hyperguild.orchestration.decide import (
    Accept,
    Ahead,
    AheadPhase,
    Decision,
    GiveUp,
    Probe,
    Situation,
    Skip,
    Try,
    Wait,
    decide,
    decide_beside,
    next_tier,
    tier_after,
    worst_amount,
)
from hyperguild.orchestration.delegating import Delegating
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.ending import Known, failure_of
from hyperguild.orchestration.lease import keep_lease, lease_end
from hyperguild.orchestration.prompts import Prompts, tokens_of
from hyperguild.orchestration.resume import Continuation
from hyperguild.orchestration.run_record import RunRecord
from hyperguild.orchestration.shared_breakers import SharedBreakers
from hyperguild.orchestration.speculating import Guess, Speculating
from hyperguild.orchestration.workplace import open_workplace
from hyperguild.ports import EventSink
from hyperguild.verification.verifier import Verifier


async def walk(
    request: RunRequest, tools: Tools, sink: EventSink, continuation: Continuation | None = None
) -> RunResult:
    """Take a request through its chain; return the result of an accepted or best-effort run.

    Or of one that pauses, `awaiting_tools`, until the results of `pending_tool_calls` are brought. A run that
    is continued keeps its id, its attempts and what it has cost; the seconds of its budget begin anew.

    Raises `ChainExhaustedError` or `BudgetExceededError`, both with the result; also `UsageError` where a
    run that is to be continued is under way elsewhere, or has ended, or where an attempt's work directory
    cannot be used, which the log has as an interrupted run. Every attempt is durable before the next one
    begins and before this returns. Cancelling stops the model call at once, records the attempt under way
    and the run as `cancelled`, and passes on.

    Raises `StoreError` where the log cannot be written as the run begins, before any model is asked; where
    it fails later, `UnrecordedRunError` with the result as far as the run came: no further attempt is made,
    an answer that was accepted is in it, and what was recorded before stays. That goes for a run that is
    cancelled, too.
    """
    if continuation is not None:
        # Not within the walk: a run that is another process's is not to be recorded as cancelled.
        await tools.store.resume_run(continuation.run_id, lease_end(tools.clock))
    return await _Walk(open_run(request, tools, sink, continuation), continuation).run()


class _Walk:
    def __init__(self, run: RunContext, continuation: Continuation | None) -> None:
        self._run = run
        self._chain = run.chain
        self._emit = run.emit
        self._under_way = continuation.under_way if continuation is not None else None
        self._breakers = SharedBreakers(run)
        self._record = RunRecord(run, self._breakers, continuation)
        self._prompts = Prompts(run)
        self._verifier = Verifier(run.tools.caller, run.tools.ids)
        delegating = Delegating(
            run,
            lambda request, sink: walk(request, run.tools, sink),
            continued=continuation is not None,
        )
        self._attempting = Attempting(run, self._record, delegating)
        self._refused: list[Refusal] = []

    async def run(self) -> RunResult:
        try:
            return await self._recorded()
        except StoreError as error:
            if not self._record.begun:
                raise
            raise self._record.unrecorded(error) from error

    async def _recorded(self) -> RunResult:
        """Run, with the log written before every step that follows from it. Raises `StoreError`."""
        run = self._run
        try:
            await self._record.begin(self._prompts.task)
            self._emit(Route, tiers=tuple(_routed(tier) for tier in self._chain.tiers))
            async with background(keep_lease(run.run_id, run.tools.store, run.tools.clock, self._emit)):
                await self._breakers.load()
                await self._apply_what_was_accepted()
                ending = await self._to_the_end()
        except asyncio.CancelledError:
            await self._record.finish("cancelled")
            raise
        except UsageError:  # the work directory cannot be used
            await self._record.finish("interrupted")
            raise
        return await self._conclude(ending)

    async def _to_the_end(self) -> Accept | GiveUp | Pause:
        while True:
            situation, prompt = await self._situation_after(self._record.attempts)
            decision = decide(situation)
            if isinstance(decision, Accept | GiveUp):
                return decision
            pause = await self._attempt(decision, situation, prompt)
            if pause is not None:
                return pause
            self._under_way = None

    async def _attempt(
        self, decision: Probe | Skip | Try, situation: Situation, prompt: tuple[Message, ...]
    ) -> Pause | None:
        """Make the attempt that was decided on, or pass its tier over; return why it pauses, if it does."""
        attempt_id, emit = self._begin_attempt(decision.tier)
        warm_state: WarmState | None = None
        told: Decision = decision
        while isinstance(told, Probe):
            warm_state = await self._probe(told.tier, emit)
            # What was begun goes on, however cold its model has become.
            known: WarmState = warm_state if self._under_way is None else "ready"
            told = decide(replace(situation, warm_state=known))
        match told:
            case Skip():
                self._refused += told.refused
                skipped = self._skipped(told, attempt_id, warm_state)
                emit(VerdictGiven, verdict="skip", cause=skipped.cause, feedback=skipped.feedback)
                await self._record.add(skipped, (), emit)
            case Try():
                plan = self._plan(told, attempt_id, prompt, warm_state)
                if self._under_way is None and may_speculate(self._run.request):
                    await self._with_others_beside(plan, emit, situation)
                    return None
                async with self._attempting.open(plan, emit) as attempt:
                    return await attempt.conclude(await attempt.generate(), self._verifier)
        return None

    async def _with_others_beside(self, plan: AttemptPlan, emit: Emitter, situation: Situation) -> None:
        """Make the attempt; beside it the next tier's, where that is decided as it goes on."""
        takes = worst_amount(self._chain, plan.tier, situation.prompt_tokens)

        async def look(phase: AheadPhase, elapsed_s: float) -> Guess | Wait:
            ahead = Ahead(plan.tier, phase, elapsed_s, takes)
            standing, prompt = await self._situation_after(self._record.attempts, ahead)
            warm_state: WarmState | None = None
            decision = decide_beside(standing)
            while isinstance(decision, Probe):
                warm_state = await self._probe(decision.tier, emit)
                decision = decide_beside(replace(standing, warm_state=warm_state))
            if isinstance(decision, Wait):
                return decision
            second = decision.second

            def begin() -> tuple[AttemptPlan, Emitter]:
                attempt_id, emit = self._begin_attempt(second.tier, beside=True)
                return self._plan(second, attempt_id, prompt, warm_state), emit

            return Guess(decision.kind, second.tier.model.name, begin)

        clock = self._run.tools.clock
        speculating = Speculating(self._record, self._attempting, self._verifier, clock, look)
        await speculating.run(plan, emit)

    async def _apply_what_was_accepted(self) -> None:
        """Apply what an attempt changed that was accepted as the run was left: on record, but not applied."""
        last = self._record.attempts[-1] if self._record.attempts else None
        if last is None or last.verdict != "accept" or self._run.request.work is None:
            return
        tier = self._chain.tiers[last.position]
        if tier.agent.workspace == "shared":
            return
        async with open_workplace(self._run, tier, self._emit, goes_on=True) as place:
            if place.given.as_left:
                await place.settle(accepted=True)

    async def _conclude(self, ending: Accept | GiveUp | Pause) -> RunResult:
        if isinstance(ending, Pause):
            return await self._record.finish("awaiting_tools", pause=ending)
        if isinstance(ending, Accept):
            return await self._record.finish("accepted", ending.attempt)
        result = await self._record.finish(ending.status, ending.best)
        meter = self._run.tools.meter
        known = Known(
            refused=(*self._refused, *(() if meter is None else meter.refusals)),
            again=self._run.tools.caller.breakers.again,
            elapsed_s=self._run.elapsed_s(),
        )
        failure = failure_of(result, self._chain, known)
        if failure is not None:
            raise failure
        return result

    def _begin_attempt(self, tier: Tier, *, beside: bool = False) -> tuple[str, Emitter]:
        """Return the id of the attempt that begins, and who emits its events; `beside`: beside another."""
        tools, going_on = self._run.tools, self._under_way
        if tools.meter is not None:
            tools.meter.begin_attempt(beside=beside)
        attempt_id = tools.ids.new_id() if going_on is None else going_on.attempt_id
        emit = self._emit.of_attempt(attempt_id)
        emit(
            AttemptStarted,
            position=tier.position,
            model=tier.model.name,
            tier=tier.model.label,
            endpoint=tier.model.endpoint.name,
        )
        return attempt_id, emit

    async def _probe(self, tier: Tier, emit: Emitter) -> WarmState:
        warm_state = await self._run.tools.caller.warm_state(tier.model) or "unknown"
        emit(Probed, position=tier.position, model=tier.model.name, warm_state=warm_state)
        return warm_state

    def _plan(
        self,
        decision: Try,
        attempt_id: str,
        prompt: tuple[Message, ...],
        warm_state: WarmState | None,
    ) -> AttemptPlan:
        request = self._run.request
        return AttemptPlan(
            attempt_id=attempt_id,
            tier=decision.tier,
            messages=prompt,
            skill_prompt=request.system_prompt,
            original_task=self._prompts.task,
            verifier=self._chain.verifier,
            warm_state=warm_state,
            time_left_s=decision.time_left_s,
            cost_left_usd=decision.cost_left_usd,
            verdict_usd=decision.verdict_usd,
            under_way=self._under_way,
            tool_choice="auto" if request.work is None else request.work.tool_choice,
        )

    def _skipped(self, decision: Skip, attempt_id: str, warm_state: WarmState | None) -> Attempt:
        model = decision.tier.model
        used = Usage() if self._under_way is None else self._under_way.resumption.usage
        return Attempt(
            attempt_id=attempt_id,
            position=decision.tier.position,
            model=model.name,
            tier=model.label,
            endpoint=model.endpoint.name,
            warm_state=warm_state,
            warm_start=warm_state == "ready",
            verdict="skip",
            cause=decision.cause,
            feedback=decision.reason,
            usage=used,
            cost_usd=0.0 if used == Usage() else model.cost_usd(used),
            started_at=self._run.tools.clock.now(),
        )

    async def _situation_after(
        self, attempts: Sequence[Attempt], ahead: Ahead | None = None
    ) -> tuple[Situation, tuple[Message, ...]]:
        """Return how the run stands after these attempts, and the prompt of the tier that is next.

        Where one is under way, `ahead`, that is the tier after it; nothing is known of its answer.
        """
        tier = next_tier(self._chain, attempts) if ahead is None else tier_after(self._chain, ahead.tier)
        prompt = self._prompts.of_tier(tier, attempts) if tier is not None else ()
        tools, models = self._run.tools, [tier.model for tier in self._chain.tiers]
        # First: a log that is busy makes it wait, and meanwhile time passes and breakers open.
        standings = () if tools.meter is None else await tools.meter.standings(between=ahead is None)
        situation = Situation(
            chain=self._chain,
            attempts=tuple(attempts),
            task_tokens=self._prompts.task_tokens,
            prompt_tokens=tokens_of(prompt),
            has_images=bool(self._run.request.task.images),
            elapsed_s=self._run.elapsed_s(),
            spent_usd=sum(cost or 0.0 for one in attempts for cost in one.costs_usd),
            windows={model.name: window for model in models if (window := tools.caller.known_window(model))},
            breakers=self._breakers.why_not(),
            standings=standings,
            ahead=ahead,
        )
        return situation, prompt


def _routed(tier: Tier) -> RoutedTier:
    model = tier.model
    return RoutedTier(
        position=tier.position, model=model.name, tier=model.label, endpoint=model.endpoint.name
    )
