"""One try of one tier: generate, then verify; whatever happens, an attempt record comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hyperguild.agent.changes import Changes
from hyperguild.agent.loop import AgentLoop
from hyperguild.agent.terms import Left, LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.watch import (
    CallBegan,
    CallEnded,
    Compacted,
    HookFailed,
    Injected,
    KeptStep,
    LoopEvent,
    LoopWatch,
    Replaced,
    StepAnswered,
    StepBegan,
)
from hyperguild.domain.chain import Model, Tier, VerifierSpec
from hyperguild.domain.events import (
    AnswerDelta,
    CheckFinished,
    ContextCompacted,
    LoadWaiting,
    MessageInjected,
    StepFinished,
    StepReset,
    StepStarted,
    ThoughtDelta,
    ToolCalled,
    ToolReturned,
    TranscriptReplaced,
    VerdictGiven,
    Warned,
)
from hyperguild.domain.message_records import as_record, call_record
from hyperguild.domain.messages import FinishReason, Message, ReasoningDelta, TextDelta
from hyperguild.domain.records import (
    Attempt,
    Cause,
    CheckResult,
    ErrorInfo,
    JudgeUse,
    ModelUse,
    Step,
    Verdict,
    VerdictKind,
    WarmState,
)
from hyperguild.domain.text import clipped
from hyperguild.domain.tools import ToolCall, ToolChoice, ToolResult
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import BudgetRefusedError, ConfigError, ModelError, ProtocolError, StoreError
from hyperguild.inference.events import Loading, Reset, Spoke
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.resume import UnderWay
from hyperguild.verification.subject import Subject
from hyperguild.verification.verifier import Verifier
from hyperguild.verification.watch import VerifierWatch

SHOWN_RESULT_CHARS = 2000
"""Of a tool's result in an event; the session log has what the model was told."""


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """What to try: a tier, the prompt for it, and what the verifier may see of the request.

    `cost_left_usd` is for the answer; `verdict_usd` was set aside for its verdict. `folder` is where tools
    work, None where there is no such place.
    """

    attempt_id: str
    tier: Tier
    messages: tuple[Message, ...]
    skill_prompt: str
    original_task: str
    verifier: VerifierSpec | None
    warm_state: WarmState | None
    time_left_s: float | None
    cost_left_usd: float | None
    verdict_usd: float = 0.0
    folder: Path | None = None
    under_way: UnderWay | None = None
    tool_choice: ToolChoice = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: the fields of its record that only its end can fill."""

    verdict: VerdictKind
    cause: Cause | None = None
    score: float | None = None
    feedback: str = ""
    error: ErrorInfo | None = None

    @classmethod
    def of(cls, verdict: Verdict) -> Outcome:
        """Return the outcome that a verdict makes."""
        return cls(verdict.kind, verdict.cause, verdict.score, verdict.feedback)

    @classmethod
    def failed(cls, error: ErrorInfo) -> Outcome:
        """Return the outcome of an attempt that brought no usable answer."""
        return cls("error", error.kind, error=error)


@dataclass(frozen=True, slots=True)
class Pause:
    """An attempt that waits for the results of `calls` (`{id, name, arguments}`); `attempt`: as it stands."""

    calls: tuple[dict[str, Any], ...]
    attempt: Attempt


CANCELLED = Outcome.failed(ErrorInfo(kind="cancelled", message="cancelled by the caller"))


class AttemptUnderWay:
    """An attempt while it runs; `record` writes down what is known of it at any moment.

    Steps of an attempt with tools go to `keep_step` as they end; those that are not durable yet are in
    `open_steps`, to be recorded together with the attempt. Where the log fails, nothing more is done but to
    verify an answer that is there.
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
        self._changes = Changes()
        self._calls: dict[str, ToolCall] = {}
        request = LoopRequest(
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
        self._loop = AgentLoop(request, tools, LoopWatch(self._observe, self._keep))
        self._began = self._clock.monotonic()
        self._started_at: datetime = self._clock.now()
        self._position = 0
        self._finish_reason: str | None = None
        self._retries = 0
        self._loaded_ms: int | None = None
        self._loading_since: float | None = None
        self._first_token_ms: int | None = None
        self._verify_began: float | None = None
        self._verify_ms: int | None = None
        self._checks: list[CheckResult] = []
        self._judge_use = JudgeUse()
        self._earlier_ms = 0
        self._earlier_asides: tuple[ModelUse, ...] = ()
        if plan.under_way is not None:
            self._take_up(plan.under_way, tools.models)

    async def run(self, verifier: Verifier) -> Attempt | Pause:
        """Generate and verify. Model errors become an `error` record; cancellation passes through.

        A pause is no end: the attempt is not to be recorded yet, its steps are. Raises `StoreError` where a
        step cannot be recorded that others would follow.
        """
        try:
            end = await self._loop.run()
            if end.pending:
                calls = tuple(call_record(call) for call in end.pending)
                return Pause(calls, self.record(Outcome("escalate")))
            if end.cause is None:
                self._finish_reason = end.finish_reason
                if not end.text.strip():
                    raise _empty(end.finish_reason, offered=self._offered)
        except ModelError as error:
            return self._ended(
                replace(Outcome.failed(ErrorInfo.of(error)), feedback=self._left_behind(error))
            )
        if end.cause is not None:
            kind: VerdictKind = "skip" if end.cause == "budget" and self._untried(end) else "escalate"
            return self._ended(Outcome(kind, end.cause, feedback=end.feedback))
        verdict = await self._verdict(verifier, end)
        if self._verify_began is not None:
            self._verify_ms = self._ms_since(self._verify_began)
        if verdict.warning:
            self._emit(Warned, message=verdict.warning)
        return self._ended(Outcome.of(verdict))

    def _untried(self, end: LoopEnd) -> bool:
        """Tell whether nothing was sent: the first call was refused."""
        return self._position == 0 and not end.text and self._loop.usage == Usage() and not self._loop.asides

    def _left_behind(self, error: ModelError) -> str:
        """Return what the next tier should know of an attempt that failed on its way, "" at its start."""
        if self._position == 0:
            return ""
        failed = f"the attempt failed in step {self._position + 1}: {error.message}"
        return "\n".join(part for part in (failed, self._changes.summary()) if part)

    def record(self, outcome: Outcome) -> Attempt:
        """Return the attempt with what is known by now."""
        plan = self.plan
        model = plan.tier.model
        verify_ms = self._verify_ms
        if self._verify_began is not None and verify_ms is None:
            verify_ms = self._ms_since(self._verify_began)
        return Attempt(
            attempt_id=plan.attempt_id,
            position=plan.tier.position,
            model=model.name,
            tier=model.label,
            endpoint=model.endpoint.name,
            warm_state=plan.warm_state,
            warm_start=plan.warm_state == "ready",
            duration_ms=self._earlier_ms + self._ms_since(self._began),
            load_ms=self._load_ms(),
            first_token_ms=self._first_token_ms,
            verify_ms=verify_ms,
            verdict=outcome.verdict,
            cause=outcome.cause,
            score=outcome.score,
            feedback=outcome.feedback,
            answer=self._loop.text,
            finish_reason=self._finish_reason,
            retries=self._retries,
            checks=tuple(self._checks),
            error=outcome.error,
            usage=self._loop.usage,
            cost_usd=model.cost_usd(self._loop.usage),
            verifier=self._judge_use,
            asides=(*self._earlier_asides, *self._loop.asides),
            started_at=self._started_at,
        )

    def left(self) -> Left:
        """Return what runs that it delegates may use now."""
        return self._loop.left()

    def count(self, use: ModelUse) -> None:
        """Count what a run that it delegated has used."""
        self._loop.count(use)

    @property
    def _offered(self) -> bool:
        return self.plan.tier.model.tools and bool(self._toolbox.specs)

    def _take_up(self, earlier: UnderWay, models: Callable[[str], Model] | None) -> None:
        """Count what was done before the attempt was left."""
        self._earlier_ms = earlier.earlier_ms
        self._started_at = earlier.began_at or self._started_at
        self._earlier_asides = tuple(
            ModelUse(model=name, purpose="hook", usage=usage, cost_usd=_cost_usd(models, name, usage))
            for name, usage in earlier.asides
        )
        for call, result in earlier.done:
            self._calls[call.id] = call
            self._note_change(result)

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

    def _observe(self, event: LoopEvent) -> None:
        model = self.plan.tier.model.name
        match event:
            case StepBegan(position=position):
                self._position, self._finish_reason = position, None
                self._emit(StepStarted, position=position, model=model)
            case StepAnswered():
                self._finish_reason = event.finish_reason
                self._emit(
                    StepFinished,
                    position=event.position,
                    model=model,
                    finish_reason=event.finish_reason,
                    usage=event.usage,
                    duration_ms=event.duration_ms,
                )
            case TextDelta(text=text):
                self._emit(AnswerDelta, text=text)
            case ReasoningDelta(text=text):
                self._emit(ThoughtDelta, text=text)
            case Loading(waited_ms=waited_ms, loaded=loaded):
                self._note_load(event)
                self._emit(LoadWaiting, model=model, waited_ms=waited_ms, loaded=loaded)
            case Spoke(after_ms=after_ms):
                self._first_token_ms = after_ms if self._first_token_ms is None else self._first_token_ms
            case Reset(reason=reason):
                self._loaded_ms, self._loading_since = self._load_ms(), None
                if self._position == 0:  # the first token of an attempt is that of its first step
                    self._first_token_ms = None
                self._retries += 1
                self._emit(StepReset, reason=reason)
            case _:
                self._observe_tools(event)

    def _observe_tools(self, event: LoopEvent) -> None:
        match event:
            case CallBegan(call=call):
                self._calls[call.id] = call
                arguments = None if call.arguments is None else dict(call.arguments)
                self._emit(ToolCalled, call_id=call.id, name=call.name, arguments=arguments)
            case CallEnded(result=result):
                self._note_change(result)
                self._emit(
                    ToolReturned,
                    call_id=result.call_id,
                    name=result.name,
                    is_error=result.is_error,
                    text=clipped(result.text, SHOWN_RESULT_CHARS),
                    chars=len(result.text),
                    started_at=result.started_at,
                    ended_at=result.ended_at,
                )
            case Injected(message=message, origin=origin):
                self._emit(MessageInjected, origin=origin, role=message.role, text=message.text)
            case Replaced(messages=messages, origin=origin):
                self._emit(TranscriptReplaced, origin=origin, messages=messages)
            case HookFailed(message=message):
                self._emit(Warned, message=message)
            case Compacted(messages=messages, failure=failure):
                self._emit(ContextCompacted, messages=messages, failure=failure)

    def _note_change(self, result: ToolResult) -> None:
        call, spec = self._calls.get(result.call_id), self._toolbox.spec(result.name)
        if call is not None and spec is not None and result.started_at is not None:
            self._changes.take(call, result, spec.effect)

    def _note_load(self, loading: Loading) -> None:
        """Keep when the load of this try began, and what loads of all tries took."""
        if loading.loaded:
            self._loaded_ms, self._loading_since = self._load_ms(), None
        elif self._loading_since is None:
            self._loading_since = self._clock.monotonic() - loading.waited_ms / 1000

    def _load_ms(self) -> int | None:
        if self._loading_since is None:
            return self._loaded_ms
        return (self._loaded_ms or 0) + self._ms_since(self._loading_since)

    async def _verdict(self, verifier: Verifier, end: LoopEnd) -> Verdict:
        """Return what becomes of a non-empty answer."""
        unfinished = _unfinished(end.finish_reason, self.plan.tier, offered=self._offered)
        spec = self.plan.verifier if self.plan.tier.verify else None
        if unfinished is not None and spec is not None:
            spec = replace(spec, judge=None)  # checks are free; a judge has nothing whole to judge
        checked = Verdict(kind="accept") if spec is None else await self._verify(verifier, spec, end)
        if unfinished is None:
            return checked
        feedback = "\n".join(part for part in (unfinished.feedback, checked.feedback) if part)
        return unfinished.model_copy(update={"feedback": feedback, "warning": checked.warning})

    async def _verify(self, verifier: Verifier, spec: VerifierSpec, end: LoopEnd) -> Verdict:
        """Verify within the time that the run has left."""
        self._verify_began = self._clock.monotonic()
        subject = Subject(
            skill_prompt=self.plan.skill_prompt,
            task=self.plan.original_task,
            answer=end.text,
            finish_reason=end.finish_reason,
            changes=self._changes.summary(),
            folder=self.plan.folder,
        )
        left_s = self.plan.time_left_s
        if left_s is not None:
            left_s = max(left_s - (self._verify_began - self._began), 0.0)
        try:
            async with asyncio.timeout(left_s):
                return await verifier.verify(spec, subject, self._watch(), self._left_for_verdict_usd)
        except TimeoutError:
            return Verdict(
                kind="escalate",
                cause="budget",
                feedback="verifier error: the deadline of the run passed before there was a verdict",
            )
        except BudgetRefusedError as refused:
            return Verdict(kind="escalate", cause="budget", feedback=f"verifier error: {refused.message}")

    def _left_for_verdict_usd(self) -> float | None:
        """Return what may still be spent on the verdict, None for any sum."""
        plan = self.plan
        if plan.cost_left_usd is None:
            return None
        asides = [use.cost_usd for use in (*self._earlier_asides, *self._loop.asides)]
        answer_usd = plan.tier.model.cost_usd(self._loop.usage)
        spent = total_cost_usd([answer_usd, self._judge_use.cost_usd, *asides])
        return 0.0 if spent is None else max(plan.cost_left_usd + plan.verdict_usd - spent, 0.0)

    def _watch(self) -> VerifierWatch:
        def on_check(result: CheckResult) -> None:
            self._checks.append(result)
            self._emit(CheckFinished, check=result)

        def on_judge_loading(model: str, loading: Loading) -> None:
            self._emit(
                LoadWaiting, model=model, role="judge", waited_ms=loading.waited_ms, loaded=loading.loaded
            )

        def on_judge_use(use: JudgeUse) -> None:
            self._judge_use = use

        def on_warning(message: str) -> None:
            self._emit(Warned, message=message)

        return VerifierWatch(on_check, on_judge_loading, on_judge_use, on_warning)

    def _ms_since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1000)


def _cost_usd(models: Callable[[str], Model] | None, name: str, usage: Usage) -> float | None:
    """Return what another model cost; None where it is not known any more."""
    if models is None:
        return None
    try:
        return models(name).cost_usd(usage)
    except ConfigError:
        return None


def _empty(finish_reason: FinishReason, *, offered: bool) -> ProtocolError:
    if finish_reason == "length":
        return ProtocolError(
            "no answer: every output token went into reasoning",
            hint="raise max_output_tokens, or switch the model's thinking off through extra_body",
        )
    if finish_reason in {"refusal", "content_filter"}:
        return ProtocolError(f"no answer: the server withheld it ({finish_reason})")
    if finish_reason == "tool_calls" and offered:
        return ProtocolError("no answer: the server spoke of a tool call, and sent none")
    if finish_reason == "tool_calls":
        return ProtocolError("no answer: the model called a tool, and none was offered")
    return ProtocolError("the answer is empty")


def _unfinished(finish_reason: FinishReason, tier: Tier, *, offered: bool) -> Verdict | None:
    """Return the refusal of an answer that is cut off or withheld, verified or not; None for a whole one."""
    match finish_reason:
        case "length":
            limit = tier.model.max_output_tokens
            after = f"after {limit} tokens, its limit" if limit else "at the limit of the model or its window"
            feedback = f"the answer was cut off {after}: give a complete answer, and a shorter one"
            return Verdict(kind="escalate", cause="truncated", feedback=feedback)
        case "refusal" | "content_filter" as reason:
            feedback = f"the model declined to answer ({reason})"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
        case "tool_calls" if offered:
            feedback = (
                "the model was about to call a tool, and no call came: call it, or give the whole answer"
            )
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
        case "tool_calls":
            feedback = "the model called a tool instead of answering; there are no tools: answer directly"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
    return None
