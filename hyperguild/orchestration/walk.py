"""Performs what `decide` decides: probes, tries, records, and ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from hyperguild.domain.events import (
    AttemptFinished,
    AttemptStarted,
    Probed,
    Route,
    RoutedTier,
    RunFinished,
    RunStarted,
    VerdictGiven,
)
from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.domain.records import (
    Attempt,
    BudgetExceededError,
    ChainExhaustedError,
    RunResult,
    RunStart,
    RunStatus,
    Step,
    WarmState,
)
from hyperguild.domain.run import RunRequest
from hyperguild.domain.usage import Usage
from hyperguild.inference.background import background
from hyperguild.inference.call import ModelCaller
from hyperguild.orchestration.attempt import AttemptPlan, AttemptUnderWay
from hyperguild.orchestration.decide import Accept, GiveUp, Probe, Situation, Skip, Try, decide, next_tier
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.feedback import fold
from hyperguild.ports import Clock, EventSink, IdSource, SessionStore
from hyperguild.verification.verifier import Verifier

LEASE_S = 15.0
"""How long a run counts as alive after its last sign of life: three renewals."""

RENEW_EVERY_S = 5.0
"""How often a run renews its lease (contract, section 4)."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a walk works with; all of it is shared by concurrent walks."""

    caller: ModelCaller
    verifier: Verifier
    store: SessionStore
    clock: Clock
    ids: IdSource


async def walk(request: RunRequest, tools: Tools, sink: EventSink) -> RunResult:
    """Take a request through its chain; return the result of an accepted or best-effort run.

    Raises `ChainExhaustedError` or `BudgetExceededError`, both with the result, and `StoreError`. Every
    attempt is durable before the next one begins and before this returns. Cancelling stops the model call at
    once, records the attempt under way and the run as `cancelled`, and passes on.
    """
    return await _Walk(request, tools, sink).run()


class _Walk:
    def __init__(self, request: RunRequest, tools: Tools, sink: EventSink) -> None:
        self._request = request
        self._tools = tools
        self._run_id = tools.ids.new_id()
        self._session_id = request.session_id or tools.ids.new_id()
        self._began = tools.clock.monotonic()
        self._emit = Emitter(sink, tools.clock, session_id=self._session_id, run_id=self._run_id)
        self._attempts: list[Attempt] = []
        self._task = request.task.rendered()

    async def run(self) -> RunResult:
        request, clock = self._request, self._tools.clock
        now = clock.now()
        start = RunStart(
            run_id=self._run_id,
            session_id=self._session_id,
            skill=request.skill,
            chain=request.chain.name,
            task=self._task,
            created_at=now,
            lease_expires_at=now + timedelta(seconds=LEASE_S),
        )
        await self._tools.store.start_run(start)
        self._emit(RunStarted, skill=request.skill, chain=request.chain.name)
        self._emit(Route, tiers=tuple(self._routed()))
        async with background(self._keep_lease()):
            try:
                ending = await self._to_the_end()
            except asyncio.CancelledError:
                await self._finish("cancelled", None)
                raise
        return await self._conclude(ending)

    async def _to_the_end(self) -> Accept | GiveUp:
        warm_state: WarmState | None = None
        while True:
            messages = self._messages()
            decision = decide(self._situation(messages, warm_state))
            match decision:
                case Probe(tier=tier):
                    warm_state = await self._tools.caller.warm_state(tier.model) or "unknown"
                    self._emit(Probed, position=tier.position, model=tier.model.name, warm_state=warm_state)
                    continue
                case Skip():
                    await self._skip(decision, warm_state)
                case Try():
                    await self._try(decision, messages, warm_state)
                case Accept() | GiveUp():
                    return decision
            warm_state = None

    async def _conclude(self, ending: Accept | GiveUp) -> RunResult:
        if isinstance(ending, Accept):
            return await self._finish("accepted", ending.attempt)
        result = await self._finish(ending.status, ending.best)
        if ending.status == "budget_exceeded":
            raise BudgetExceededError(
                f"budget or deadline spent before an answer was accepted: {_causes(self._attempts)}",
                result=result,
                hint="raise --max-cost, --deadline or the chain's budget",
            )
        if ending.status == "exhausted":
            raise ChainExhaustedError(
                f"no answer was accepted: {_causes(self._attempts)}",
                result=result,
                hint="`hyperguild sessions show last` shows every attempt",
            )
        return result

    async def _try(self, decision: Try, messages: tuple[Message, ...], warm_state: WarmState | None) -> None:
        tier, tools = decision.tier, self._tools
        plan = AttemptPlan(
            attempt_id=tools.ids.new_id(),
            tier=tier,
            messages=messages,
            skill_prompt=self._request.system_prompt,
            original_task=self._task,
            verifier=self._request.chain.verifier,
            warm_state=warm_state,
            time_left_s=decision.time_left_s,
        )
        self._emit.attempt_id = plan.attempt_id
        self._emit(
            AttemptStarted,
            position=tier.position,
            model=tier.model.name,
            tier=tier.model.label,
            endpoint=tier.model.endpoint.name,
            warm_state=warm_state,
        )
        under_way = AttemptUnderWay(plan, self._emit, tools.clock, tools.ids)
        try:
            attempt = await under_way.run(tools.caller, tools.verifier)
        except asyncio.CancelledError:
            attempt = under_way.cancelled()
            await self._record(attempt, (under_way.step(attempt),))
            raise
        await self._record(attempt, (under_way.step(attempt),))

    async def _skip(self, decision: Skip, warm_state: WarmState | None) -> None:
        model = decision.tier.model
        attempt = Attempt(
            attempt_id=self._tools.ids.new_id(),
            position=decision.tier.position,
            model=model.name,
            tier=model.label,
            endpoint=model.endpoint.name,
            warm_state=warm_state,
            warm_start=warm_state == "ready",
            verdict="skip",
            cause=decision.cause,
            feedback=decision.reason,
            started_at=self._tools.clock.now(),
        )
        self._emit.attempt_id = attempt.attempt_id
        self._emit(VerdictGiven, verdict="skip", cause=attempt.cause, feedback=attempt.feedback)
        await self._record(attempt, ())

    async def _record(self, attempt: Attempt, steps: Sequence[Step]) -> None:
        self._attempts.append(attempt)
        await self._tools.store.record_attempt(self._run_id, attempt, steps)
        self._emit(AttemptFinished, attempt=attempt)
        self._emit.attempt_id = None

    async def _finish(self, status: RunStatus, chosen: Attempt | None) -> RunResult:
        answered = chosen if status in {"accepted", "best_effort"} else None
        result = RunResult(
            run_id=self._run_id,
            session_id=self._session_id,
            skill=self._request.skill,
            chain=self._request.chain.name,
            status=status,
            output=answered.answer if answered else None,
            model=answered.model if answered else None,
            tier=answered.tier if answered else None,
            duration_ms=round(self._elapsed_s() * 1000),
            best_attempt_id=chosen.attempt_id if chosen else None,
            usage=_total_usage(self._attempts),
            cost_usd=_total_cost(self._attempts),
            attempts=tuple(self._attempts),
        )
        await self._tools.store.finish_run(result, self._tools.clock.now())
        self._emit(RunFinished, result=result)
        return result

    def _messages(self) -> tuple[Message, ...]:
        request = self._request
        # A nonce of its own each time: an earlier model has seen the one in its own prompt.
        text = fold(self._task, self._attempts, request.chain.feedback, self._tools.ids.nonce())
        return (
            Message("system", request.system_prompt),
            *request.history,
            Message("user", text, request.task.images),
        )

    def _situation(self, messages: tuple[Message, ...], warm_state: WarmState | None) -> Situation:
        chain = self._request.chain
        tier = next_tier(chain, self._attempts) or chain.tiers[-1]
        return Situation(
            chain=chain,
            attempts=tuple(self._attempts),
            warm_state=warm_state,
            prompt_tokens=ModelRequest(tier.model, messages).estimated_input_tokens(),
            has_images=bool(self._request.task.images),
            elapsed_s=self._elapsed_s(),
            spent_usd=sum(
                (attempt.cost_usd or 0.0) + (attempt.verifier.cost_usd or 0.0) for attempt in self._attempts
            ),
        )

    def _routed(self) -> list[RoutedTier]:
        return [
            RoutedTier(
                position=tier.position,
                model=tier.model.name,
                tier=tier.model.label,
                endpoint=tier.model.endpoint.name,
            )
            for tier in self._request.chain.tiers
        ]

    async def _keep_lease(self) -> None:
        clock = self._tools.clock
        while True:
            await clock.sleep(RENEW_EVERY_S)
            await self._tools.store.renew_lease(self._run_id, clock.now() + timedelta(seconds=LEASE_S))

    def _elapsed_s(self) -> float:
        return self._tools.clock.monotonic() - self._began


def _total_usage(attempts: Sequence[Attempt]) -> Usage:
    total = Usage()
    for attempt in attempts:
        total = total + attempt.usage + attempt.verifier.usage
    return total


def _total_cost(attempts: Sequence[Attempt]) -> float | None:
    """Return the known sum, or None where any part of it is unknown."""
    total = 0.0
    for attempt in attempts:
        if attempt.cost_usd is None or attempt.verifier.cost_usd is None:
            return None
        total += attempt.cost_usd + attempt.verifier.cost_usd
    return total


def _causes(attempts: Sequence[Attempt]) -> str:
    """Return one line that names every tier with what became of it."""
    return "; ".join(f"{attempt.model} ({attempt.tier}): {_cause(attempt)}" for attempt in attempts)


def _cause(attempt: Attempt) -> str:
    if attempt.error is not None:
        return f"{attempt.error.kind}: {attempt.error.message}"
    if attempt.verdict == "skip":
        return f"skipped ({attempt.cause}): {attempt.feedback}"
    score = "" if attempt.score is None else f", score {attempt.score:.2f}"
    return f"{attempt.cause}{score}"
