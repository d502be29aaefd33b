"""One try of one tier: generate, then verify; whatever happens, an attempt record comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from hyperguild.domain.chain import Tier, TimeLimits, VerifierSpec
from hyperguild.domain.events import (
    AnswerDelta,
    CheckFinished,
    LoadWaiting,
    StepFinished,
    StepReset,
    StepStarted,
    ThoughtDelta,
    VerdictGiven,
    Warned,
)
from hyperguild.domain.messages import (
    Completion,
    Message,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    UsageReport,
)
from hyperguild.domain.records import (
    Attempt,
    Cause,
    CheckResult,
    ErrorInfo,
    JudgeUse,
    Step,
    Verdict,
    VerdictKind,
    WarmState,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import ModelError, ProtocolError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Loading, Reset, Spoke
from hyperguild.orchestration.emitter import Emitter
from hyperguild.ports import Clock, IdSource
from hyperguild.verification.subject import Subject
from hyperguild.verification.verifier import Verifier
from hyperguild.verification.watch import VerifierWatch


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """What to try: a tier, the prompt for it, and what the verifier may see of the request."""

    attempt_id: str
    tier: Tier
    messages: tuple[Message, ...]
    skill_prompt: str
    original_task: str
    verifier: VerifierSpec | None
    warm_state: WarmState | None
    time_left_s: float | None

    def limits(self) -> TimeLimits:
        """Return the tier's limits, within the time that the run has left."""
        limits = self.tier.limits
        if self.time_left_s is None:
            return limits
        return replace(limits, total_s=min(limits.total_s, self.time_left_s))


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


CANCELLED = Outcome.failed(ErrorInfo(kind="cancelled", message="cancelled by the caller"))


class AttemptUnderWay:
    """An attempt while it runs; `record` writes down what is known of it at any moment."""

    def __init__(self, plan: AttemptPlan, emit: Emitter, clock: Clock, ids: IdSource) -> None:
        self.plan = plan
        self._emit = emit
        self._clock = clock
        self._ids = ids
        self._began = clock.monotonic()
        self._started_at: datetime = clock.now()
        self._text: list[str] = []
        self._finish_reason: str | None = None
        self._usage = Usage()
        self._retries = 0
        self._loaded_ms: int | None = None
        self._loading_since: float | None = None
        self._first_token_ms: int | None = None
        self._verify_began: float | None = None
        self._verify_ms: int | None = None
        self._checks: list[CheckResult] = []
        self._judge_use = JudgeUse()

    async def run(self, caller: ModelCaller, verifier: Verifier) -> Attempt:
        """Generate and verify. Model errors become an `error` record; cancellation passes through."""
        try:
            completion = await self._generate(caller)
            if not completion.text.strip():
                raise _empty(completion)
        except ModelError as error:
            return self._ended(Outcome.failed(ErrorInfo.of(error)))
        verdict = await self._verdict(verifier, completion)
        if self._verify_began is not None:
            self._verify_ms = self._ms_since(self._verify_began)
        if verdict.warning:
            self._emit(Warned, message=verdict.warning)
        return self._ended(Outcome.of(verdict))

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
            duration_ms=self._ms_since(self._began),
            load_ms=self._load_ms(),
            first_token_ms=self._first_token_ms,
            verify_ms=verify_ms,
            verdict=outcome.verdict,
            cause=outcome.cause,
            score=outcome.score,
            feedback=outcome.feedback,
            answer="".join(self._text),
            finish_reason=self._finish_reason,
            retries=self._retries,
            checks=tuple(self._checks),
            error=outcome.error,
            usage=self._usage,
            cost_usd=model.cost_usd(self._usage),
            verifier=self._judge_use,
            started_at=self._started_at,
        )

    def step(self, attempt: Attempt) -> Step:
        """Return the model call of this attempt as it was sent and answered."""
        sent = tuple({"role": message.role, "content": message.text} for message in self.plan.messages)
        answered = ({"role": "assistant", "content": attempt.answer},) if attempt.answer else ()
        return Step(
            step_id=self._ids.new_id(),
            attempt_id=attempt.attempt_id,
            position=0,
            messages=sent + answered,
            usage=attempt.usage,
            context_limit=self.plan.tier.model.context_window,
            duration_ms=attempt.duration_ms - (attempt.verify_ms or 0),
            created_at=self._started_at,
        )

    def _ended(self, outcome: Outcome) -> Attempt:
        self._emit(
            VerdictGiven,
            verdict=outcome.verdict,
            cause=outcome.cause,
            score=outcome.score,
            feedback=outcome.feedback,
        )
        return self.record(outcome)

    async def _generate(self, caller: ModelCaller) -> Completion:
        plan = self.plan
        name = plan.tier.model.name
        self._emit(StepStarted, position=0, model=name)
        completion = await caller.complete(
            ModelRequest(plan.tier.model, plan.messages),
            plan.limits(),
            retry=plan.tier.retry,
            warm_state=plan.warm_state,
            observe=self._observe,
        )
        self._usage, self._finish_reason = completion.usage, completion.finish_reason
        self._emit(
            StepFinished,
            position=0,
            model=name,
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            duration_ms=completion.duration_ms,
        )
        return completion

    def _observe(self, event: CallEvent) -> None:
        match event:
            case TextDelta(text=text):
                self._text.append(text)
                self._emit(AnswerDelta, text=text)
            case ReasoningDelta(text=text):
                self._emit(ThoughtDelta, text=text)
            case UsageReport(usage=usage):
                self._usage = usage
            case Loading(waited_ms=waited_ms, loaded=loaded):
                self._note_load(event)
                self._emit(LoadWaiting, model=self.plan.tier.model.name, waited_ms=waited_ms, loaded=loaded)
            case Spoke(after_ms=after_ms):
                self._first_token_ms = after_ms
            case Reset(reason=reason):
                self._loaded_ms, self._loading_since = self._load_ms(), None
                self._first_token_ms = None
                self._retries += 1
                self._text.clear()
                self._emit(StepReset, reason=reason)

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

    async def _verdict(self, verifier: Verifier, completion: Completion) -> Verdict:
        """Return what becomes of a non-empty answer."""
        unfinished = _unfinished(completion, self.plan.tier)
        spec = self.plan.verifier if self.plan.tier.verify else None
        if unfinished is not None and spec is not None:
            spec = replace(spec, judge=None)  # checks are free; a judge has nothing whole to judge
        checked = Verdict(kind="accept") if spec is None else await self._verify(verifier, spec, completion)
        if unfinished is None:
            return checked
        feedback = "\n".join(part for part in (unfinished.feedback, checked.feedback) if part)
        return unfinished.model_copy(update={"feedback": feedback, "warning": checked.warning})

    async def _verify(self, verifier: Verifier, spec: VerifierSpec, completion: Completion) -> Verdict:
        """Verify within the time that the run has left."""
        self._verify_began = self._clock.monotonic()
        subject = Subject(
            skill_prompt=self.plan.skill_prompt,
            task=self.plan.original_task,
            answer=completion.text,
            finish_reason=completion.finish_reason,
        )
        left_s = self.plan.time_left_s
        if left_s is not None:
            left_s = max(left_s - (self._verify_began - self._began), 0.0)
        try:
            async with asyncio.timeout(left_s):
                return await verifier.verify(spec, subject, self._watch())
        except TimeoutError:
            return Verdict(
                kind="escalate",
                cause="budget",
                feedback="verifier error: the deadline of the run passed before there was a verdict",
            )

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


def _empty(completion: Completion) -> ProtocolError:
    if completion.finish_reason == "length":
        return ProtocolError(
            "no answer: every output token went into reasoning",
            hint="raise max_output_tokens, or switch the model's thinking off through extra_body",
        )
    if completion.finish_reason in {"refusal", "content_filter"}:
        return ProtocolError(f"no answer: the server withheld it ({completion.finish_reason})")
    if completion.finish_reason == "tool_calls":
        return ProtocolError("no answer: the model called a tool, and none was offered")
    return ProtocolError("the answer is empty")


def _unfinished(completion: Completion, tier: Tier) -> Verdict | None:
    """Return the refusal of an answer that is cut off or withheld, verified or not; None for a whole one."""
    match completion.finish_reason:
        case "length":
            limit = tier.model.max_output_tokens
            after = f"after {limit} tokens, its limit" if limit else "at the limit of the model or its window"
            feedback = f"the answer was cut off {after}: give a complete answer, and a shorter one"
            return Verdict(kind="escalate", cause="truncated", feedback=feedback)
        case "refusal" | "content_filter" as reason:
            feedback = f"the model declined to answer ({reason})"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
        case "tool_calls":
            feedback = "the model called a tool instead of answering; there are no tools: answer directly"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
    return None
