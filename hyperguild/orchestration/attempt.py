"""One try of one tier: generate, then verify; whatever happens, an attempt record comes of it."""

from __future__ import annotations

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
from hyperguild.domain.records import Attempt, CheckResult, ErrorInfo, Step, Verdict, WarmState
from hyperguild.domain.usage import Usage
from hyperguild.errors import ModelError, ProtocolError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Loading, Reset
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
        self._usage = Usage()
        self._retries = 0
        self._load_ms: int | None = None
        self._completion: Completion | None = None
        self._verify_began: float | None = None
        self._verify_ms: int | None = None
        self._checks: list[CheckResult] = []

    async def run(self, caller: ModelCaller, verifier: Verifier) -> Attempt:
        """Generate and verify. Model errors become an `error` record; cancellation passes through."""
        try:
            completion = await self._generate(caller)
        except ModelError as error:
            return self._error_record(error)
        if not completion.text.strip():
            return self._error_record(_empty(completion))
        verdict = _unfinished(completion, self.plan.tier) or await self._verify(verifier, completion)
        self._emit(
            VerdictGiven,
            verdict=verdict.kind,
            cause=verdict.cause,
            score=verdict.score,
            feedback=verdict.feedback,
        )
        if verdict.warning:
            self._emit(Warned, message=verdict.warning)
        return self.record(
            verdict=verdict.kind,
            cause=verdict.cause,
            score=verdict.score,
            feedback=verdict.feedback,
            checks=verdict.checks,
            verifier=verdict.judge,
        )

    def record(self, **fields: object) -> Attempt:
        """Return the attempt with what is known by now; `fields` are the rest of `Attempt`."""
        plan, completion = self.plan, self._completion
        model = plan.tier.model
        if self._verify_began is not None and self._verify_ms is None:
            self._verify_ms = self._ms_since(self._verify_began)
        known: dict[str, object] = {
            "attempt_id": plan.attempt_id,
            "position": plan.tier.position,
            "model": model.name,
            "tier": model.label,
            "endpoint": model.endpoint.name,
            "warm_state": plan.warm_state,
            "warm_start": plan.warm_state == "ready",
            "duration_ms": self._ms_since(self._began),
            "load_ms": completion.load_ms if completion else self._load_ms,
            "first_token_ms": completion.first_token_ms if completion else None,
            "verify_ms": self._verify_ms,
            "answer": completion.text if completion else "".join(self._text),
            "finish_reason": completion.finish_reason if completion else None,
            "retries": self._retries,
            "checks": tuple(self._checks),
            "usage": self._usage,
            "cost_usd": model.cost_usd(self._usage),
            "started_at": self._started_at,
        }
        return Attempt.model_validate({**known, **fields})

    def cancelled(self) -> Attempt:
        """Return the record of an attempt that was cancelled from outside."""
        error = ErrorInfo(kind="cancelled", message="cancelled by the caller")
        return self.record(verdict="error", cause="cancelled", error=error)

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
        self._completion, self._usage = completion, completion.usage
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
                self._load_ms = waited_ms
                self._emit(LoadWaiting, model=self.plan.tier.model.name, waited_ms=waited_ms, loaded=loaded)
            case Reset(reason=reason):
                self._retries += 1
                self._text.clear()
                self._emit(StepReset, reason=reason)

    async def _verify(self, verifier: Verifier, completion: Completion) -> Verdict:
        plan = self.plan
        if not plan.tier.verify or plan.verifier is None:
            return Verdict(kind="accept")
        self._verify_began = self._clock.monotonic()
        subject = Subject(
            skill_prompt=plan.skill_prompt,
            task=plan.original_task,
            answer=completion.text,
            finish_reason=completion.finish_reason,
        )
        return await verifier.verify(plan.verifier, subject, self._watch())

    def _watch(self) -> VerifierWatch:
        def on_check(result: CheckResult) -> None:
            self._checks.append(result)
            self._emit(CheckFinished, check=result)

        def on_judge_loading(model: str, loading: Loading) -> None:
            self._emit(
                LoadWaiting, model=model, role="judge", waited_ms=loading.waited_ms, loaded=loading.loaded
            )

        def on_warning(message: str) -> None:
            self._emit(Warned, message=message)

        return VerifierWatch(on_check=on_check, on_judge_loading=on_judge_loading, on_warning=on_warning)

    def _error_record(self, error: ModelError) -> Attempt:
        info = ErrorInfo.of(error)
        self._emit(VerdictGiven, verdict="error", cause=info.kind, feedback="")
        return self.record(verdict="error", cause=info.kind, error=info)

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
    return ProtocolError("the answer is empty")


def _unfinished(completion: Completion, tier: Tier) -> Verdict | None:
    """Return the refusal of an answer that is cut off or withheld, verified or not; None for a whole one."""
    if completion.finish_reason == "length":
        limit = tier.model.max_output_tokens
        after = f"after {limit} tokens, its limit" if limit else "at the limit of the model or its window"
        feedback = f"the answer was cut off {after}: give a complete answer, and a shorter one"
        return Verdict(kind="escalate", cause="truncated", feedback=feedback)
    if completion.finish_reason in {"refusal", "content_filter"}:
        return Verdict(
            kind="escalate",
            cause="rejected",
            feedback=f"the model declined to answer ({completion.finish_reason})",
        )
    return None
