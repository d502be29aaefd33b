"""One try of one tier: generate, then verify; whatever happens, an attempt record comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from hyperguild.agent.loop import AgentLoop
from hyperguild.agent.terms import Left, LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.watch import KeptStep, LoopWatch
from hyperguild.domain.chain import Model
from hyperguild.domain.events import VerdictGiven
from hyperguild.domain.message_records import as_record, call_record
from hyperguild.domain.records import Attempt, ErrorInfo, ModelUse, Step, VerdictKind
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import ConfigError, ModelError, StoreError
from hyperguild.orchestration.attempt_terms import AttemptPlan, Outcome, Pause
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.observing import AttemptObserver
from hyperguild.orchestration.resume import UnderWay
from hyperguild.orchestration.unfinished import empty
from hyperguild.orchestration.verifying import AnswerVerification
from hyperguild.verification.verifier import Verifier


class AttemptUnderWay:
    """An attempt while it runs; `record` writes down what is known of it at any moment.

    First `generate`, then `verify` what came of it; between the two another attempt may begin. Steps of an
    attempt with tools go to `keep_step` as they end; those that are not durable yet are in `open_steps`, to
    be recorded together with the attempt. Where the log fails, nothing more is done but to verify an answer
    that is there.
    """

    def __init__(
        self,
        plan: AttemptPlan,
        emit: Emitter,
        tools: LoopTools,
        keep_step: Callable[[Step], Awaitable[None]],
    ) -> None:
        self.plan = plan
        self.open_steps: list[Step] = []
        self._emit = emit
        self._clock, self._ids = tools.clock, tools.ids
        self._caller = tools.caller
        self._keep_step = keep_step
        self._toolbox = tools.toolbox
        self._observer = AttemptObserver(plan.tier.model.name, tools.toolbox, tools.clock, emit)
        self._loop = AgentLoop(_loop_request(plan), tools, LoopWatch(self._observer.observe, self._keep))
        self._began = self._clock.monotonic()
        self._started_at: datetime = self._clock.now()
        self._verification = AnswerVerification(plan, self._clock, emit, self._began, self._spent_usd)
        self._earlier_ms = 0
        self._earlier_asides: tuple[ModelUse, ...] = ()
        if plan.under_way is not None:
            self._take_up(plan.under_way, tools.models)

    async def generate(self) -> LoopEnd | Attempt | Pause:
        """Return an answer that is to be verified; or how the attempt ended, or pauses, without one.

        Model errors become an `error` record; cancellation passes through. A pause is no end: the attempt is
        not to be recorded yet, its steps are. Raises `StoreError` where a step cannot be recorded that others
        would follow.
        """
        try:
            end = await self._loop.run()
            if end.pending:
                calls = tuple(call_record(call) for call in end.pending)
                return Pause(calls, self.record(Outcome("escalate")))
            if end.cause is None:
                self._observer.finish_reason = end.finish_reason
                if not end.text.strip():
                    raise empty(end.finish_reason, offered=self._offered)
        except ModelError as error:
            return self._ended(
                replace(Outcome.failed(ErrorInfo.of(error)), feedback=self._left_behind(error))
            )
        if end.cause is not None:
            kind: VerdictKind = "skip" if end.cause == "budget" and self._untried(end) else "escalate"
            return self._ended(Outcome(kind, end.cause, feedback=end.feedback))
        return end

    async def verify(self, verifier: Verifier, answer: LoopEnd) -> Attempt:
        """Return the attempt with the verdict on its answer. Cancellation passes through."""
        changes = self._observer.changes.summary()
        verdict = await self._verification.verdict(verifier, answer, changes, offered=self._offered)
        if verdict.warning:
            self._emit.warn(verdict.warning)
        return self._ended(Outcome.of(verdict))

    def record(self, outcome: Outcome) -> Attempt:
        """Return the attempt with what is known by now."""
        plan, observed, verification = self.plan, self._observer, self._verification
        model = plan.tier.model
        return Attempt(
            attempt_id=plan.attempt_id,
            position=plan.tier.position,
            model=model.name,
            tier=model.label,
            endpoint=model.endpoint.name,
            warm_state=plan.warm_state,
            warm_start=plan.warm_state == "ready",
            duration_ms=self._earlier_ms + round((self._clock.monotonic() - self._began) * 1000),
            load_ms=observed.load_ms(),
            first_token_ms=observed.first_token_ms,
            verify_ms=verification.ms,
            verdict=outcome.verdict,
            cause=outcome.cause,
            score=outcome.score,
            feedback=outcome.feedback,
            answer=self._loop.text,
            finish_reason=observed.finish_reason,
            retries=observed.retries,
            checks=tuple(verification.checks),
            error=outcome.error,
            usage=self._loop.usage,
            cost_usd=model.cost_usd(self._loop.usage),
            verifier=verification.judge_use,
            asides=self._asides,
            started_at=self._started_at,
        )

    def left(self) -> Left:
        """Return what runs that it delegates may use now."""
        return self._loop.left()

    def count(self, use: ModelUse) -> None:
        """Count what a run that it delegated has used."""
        self._loop.count(use)

    def _untried(self, end: LoopEnd) -> bool:
        """Tell whether nothing was sent: the first call was refused."""
        nothing_used = self._loop.usage == Usage() and not self._loop.asides
        return self._observer.position == 0 and not end.text and nothing_used

    def _left_behind(self, error: ModelError) -> str:
        """Return what the next tier should know of an attempt that failed on its way, "" at its start."""
        position = self._observer.position
        if position == 0:
            return ""
        failed = f"the attempt failed in step {position + 1}: {error.message}"
        return "\n".join(part for part in (failed, self._observer.changes.summary()) if part)

    @property
    def answers(self) -> bool:
        """Whether its model has been loaded since, or has begun to speak."""
        return self._observer.answers

    @property
    def _offered(self) -> bool:
        return self.plan.tier.model.tools and bool(self._toolbox.specs)

    @property
    def _asides(self) -> tuple[ModelUse, ...]:
        return (*self._earlier_asides, *self._loop.asides)

    def _spent_usd(self) -> float | None:
        """Return what the attempt has cost without its verdict; None where that is not known."""
        answer_usd = self.plan.tier.model.cost_usd(self._loop.usage)
        return total_cost_usd([answer_usd, *(use.cost_usd for use in self._asides)])

    def _take_up(self, earlier: UnderWay, models: Callable[[str], Model] | None) -> None:
        """Count what was done before the attempt was left."""
        self._earlier_ms = earlier.earlier_ms
        self._started_at = earlier.began_at or self._started_at
        self._earlier_asides = tuple(
            ModelUse(model=name, purpose="hook", usage=usage, cost_usd=_cost_usd(models, name, usage))
            for name, usage in earlier.asides
        )
        self._observer.take_up(earlier.done)

    async def _keep(self, kept: KeptStep) -> None:
        step = Step(
            step_id=self._ids.new_id(),
            attempt_id=self.plan.attempt_id,
            position=kept.position,
            kind=kept.kind,
            anew=kept.anew,
            model=kept.model,
            finish_reason=kept.finish_reason,
            pending_tool_calls=tuple(call_record(call) for call in kept.pending),
            messages=tuple(as_record(message) for message in kept.messages),
            usage=kept.usage,
            context_limit=self._caller.known_window(self.plan.tier.model),
            duration_ms=kept.duration_ms,
            created_at=kept.began_at,
        )
        if not self._toolbox.specs:
            self.open_steps.append(step)
            return
        try:
            await self._keep_step(step)
        except StoreError:
            if not kept.is_answer:
                raise
            self.open_steps.append(step)

    def _ended(self, outcome: Outcome) -> Attempt:
        self._emit(
            VerdictGiven,
            verdict=outcome.verdict,
            cause=outcome.cause,
            score=outcome.score,
            feedback=outcome.feedback,
        )
        return self.record(outcome)


def _loop_request(plan: AttemptPlan) -> LoopRequest:
    return LoopRequest(
        model=plan.tier.model,
        prompt=plan.messages,
        policy=plan.tier.agent,
        limits=plan.tier.limits,
        retry=plan.tier.retry,
        warm_state=plan.warm_state,
        time_left_s=plan.time_left_s,
        cost_left_usd=plan.cost_left_usd,
        resume=plan.under_way.resumption if plan.under_way is not None else None,
        tool_choice=plan.tool_choice,
    )


def _cost_usd(models: Callable[[str], Model] | None, name: str, usage: Usage) -> float | None:
    """Return what another model cost; None where it is not known any more."""
    if models is None:
        return None
    try:
        return models(name).cost_usd(usage)
    except ConfigError:
        return None
