"""The agent loop: model calls and tools in turns, until there is an answer or a reason to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from hyperguild.agent.compaction import SUMMARY_TIMEOUT_S, Plan, plan
from hyperguild.agent.corrections import Correct, TripPolicy
from hyperguild.agent.detectors import Detectors, Trip
from hyperguild.agent.gauge import TokenGauge
from hyperguild.agent.routing import SELECT, ToolRouting, is_two_stage
from hyperguild.agent.shrink import SHRINK_AT, Shrinker
from hyperguild.agent.toolbox import Batch, Toolbox
from hyperguild.agent.transcript import repaired, with_own_ids, with_sendable_names
from hyperguild.agent.watch import (
    CallBegan,
    CallEnded,
    Compacted,
    Injected,
    KeptStep,
    LoopWatch,
    Origin,
    StepAnswered,
    StepBegan,
)
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import (
    Completion,
    FinishReason,
    Message,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolChoice,
    UsageReport,
    Verbatim,
)
from hyperguild.domain.records import Cause, WarmState
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.domain.usage import Usage
from hyperguild.errors import ContextOverflowError, ModelError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Reset
from hyperguild.ports import Clock, IdSource

MOST_CONTINUATIONS = 2
"""So often an answer that was cut off is continued."""

CONTINUE = "Continue exactly where you left off. Do not repeat anything, and do not comment on it."
CALL_CUT_OFF = (
    "Your last tool call was cut off at the limit of your output and was dropped. "
    "Call it again with shorter arguments, or split the work over several calls."
)
NOTHING_SAID = "[This turn was stopped before it said anything.]"
"""Stands for an answer that left nothing to keep: many chat templates refuse two user messages in a row."""


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """What an attempt is to do, and within which bounds. `prompt` ends with the task.

    `limits` are those of each model call; `time_left_s` and `cost_left_usd` those of all of them together.
    """

    model: Model
    prompt: tuple[Message, ...]
    policy: AgentPolicy
    limits: TimeLimits
    retry: RetryPolicy
    warm_state: WarmState | None
    time_left_s: float | None = None
    cost_left_usd: float | None = None


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How the loop ended: with an answer, or with a `cause` to escalate and `feedback` for the next tier."""

    text: str
    finish_reason: FinishReason
    cause: Cause | None = None
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class LoopTools:
    """What a loop works with."""

    caller: ModelCaller
    toolbox: Toolbox
    clock: Clock
    ids: IdSource


class _Tripped(Exception):
    """A detector has stopped the stream."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip.kind)
        self.trip = trip


@dataclass(slots=True)
class _OpenStep:
    """A step that is under way: what is known of it at any moment."""

    position: int
    began: float
    began_at: datetime
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    failed_tries: Usage = field(default_factory=Usage)
    calls: tuple[ToolCall, ...] = ()


class AgentLoop:
    """The loop of one attempt: `run` it once. `usage` and `text` are known at any moment."""

    def __init__(self, request: LoopRequest, tools: LoopTools, watch: LoopWatch) -> None:
        self._request = request
        self._caller, self._toolbox = tools.caller, tools.toolbox
        self._clock, self._ids = tools.clock, tools.ids
        self._watch = watch
        specs = tools.toolbox.specs if request.model.tools else ()
        two_stage = is_two_stage(request.policy.two_stage, request.model, specs)
        self._routing = ToolRouting(specs, two_stage=two_stage)
        self._detectors, self._trips = Detectors(), TripPolicy()
        self._gauge, self._shrinker = TokenGauge(), Shrinker()
        self._prompt: tuple[Message, ...] = request.prompt
        self._since: list[Message] = []
        self._kept = 0
        self._anew = True
        self._summary = ""
        self._summary_failed = False
        self._used = 0
        self._spent, self._summary_usage = Usage(), Usage()
        self._call_ids: set[str] = set()
        self._cut_off: list[str] = []
        self._said = ""
        self._began = tools.clock.monotonic()
        self._open: _OpenStep | None = None

    @property
    def usage(self) -> Usage:
        """What the model has used, the step or the summary under way included."""
        spent = self._spent + self._summary_usage
        return spent if self._open is None else spent + self._open.usage

    @property
    def text(self) -> str:
        """The answer so far: what was cut off and continued, and what is being streamed, or was last."""
        if self._open is None:
            return self._said
        return "".join([*self._cut_off, *self._open.text])

    async def run(self) -> LoopEnd:
        """Work until there is an answer, or a reason to stop.

        Raises `ModelError`. Cancelling stops model and tools at once; the step under way is kept with what
        it has, and the cancellation passes on.
        """
        try:
            while self._used < self._request.policy.max_steps:
                end = self._out_of_budget() or await self._step()
                if end is not None:
                    self._said = end.text
                    return end
        except (asyncio.CancelledError, ModelError):
            await self._keep_interrupted()
            raise
        steps = self._request.policy.max_steps
        feedback = (
            f"the attempt used up its {steps} steps without an answer; its last text: {self._last_text()}"
        )
        return LoopEnd(self.text, "other", "max_steps", feedback)

    def _out_of_budget(self) -> LoopEnd | None:
        """Return the end where time or money does not allow another step; the first was allowed before."""
        if self._used == 0:
            return None
        left_s = self._left_s()
        if left_s is not None and left_s <= 0:
            return self._cut_short("the deadline of the run passed in the middle of the attempt")
        limit = self._request.cost_left_usd
        if limit is None:
            return None
        model = self._request.model
        spent = model.cost_usd(self._spent)
        next_cost = model.worst_cost_usd(self._estimate(self._routing.offer()[0]))
        if next_cost and (spent is None or spent + next_cost > limit):
            return self._cut_short("the budget of the run does not allow another step")
        return None

    def _cut_short(self, why: str) -> LoopEnd:
        if self._cut_off:  # the answer is there, but for its end
            return LoopEnd(self._said, "length")
        return LoopEnd(self._said, "other", "budget", f"{why}; its last text: {self._last_text()}")

    def _left_s(self) -> float | None:
        left_s = self._request.time_left_s
        return None if left_s is None else left_s - (self._clock.monotonic() - self._began)

    def _limits(self) -> TimeLimits:
        """Return the limits of the next call, within the time that is left."""
        limits, left_s = self._request.limits, self._left_s()
        return limits if left_s is None else replace(limits, total_s=min(limits.total_s, left_s))

    async def _step(self) -> LoopEnd | None:
        """Make one model call and execute what it asks for; return the end, if that is it."""
        tools, choice = self._routing.offer()
        if await self._make_room(tools):
            return None  # that has cost time and money, which are to be looked at again
        sent = repaired(self._shrinker.view([*self._prompt, *self._since]), self._ids.new_id)
        try:
            completion = await self._complete(sent, tools, choice)
        except _Tripped as tripped:
            return await self._take_trip(tripped.trip)
        except ContextOverflowError:
            if self._summary_failed or not await self._summarise():
                raise
            return None
        withheld = completion.finish_reason in {"refusal", "content_filter"}
        if completion.tool_calls and tools and not withheld:
            return await self._act(completion, [tool.name for tool in tools])
        return await self._answer(completion)

    async def _complete(
        self, messages: Sequence[Message], tools: tuple[ToolSpec, ...], choice: ToolChoice
    ) -> Completion:
        """Ask the model. Raises `_Tripped` where a detector stops it, and `ModelError`."""
        request = self._request
        self._open = step = _OpenStep(self._used, self._clock.monotonic(), self._clock.now())
        self._used += 1
        self._detectors.start_step()
        self._watch.observe(StepBegan(step.position))
        left = request.policy.max_steps - self._used
        completion = await self._caller.complete(
            ModelRequest(request.model, tuple(messages), tools=tools, tool_choice=choice),
            self._limits(),
            retry=replace(request.retry, retries=min(request.retry.retries, left)),
            warm_state=request.warm_state
            if step.position == 0
            else await self._caller.warm_state(request.model),
            observe=self._observe,
        )
        step.usage = completion.usage
        self._gauge.learn(messages, tools, step.usage.input_tokens - step.failed_tries.input_tokens)
        self._watch.observe(
            StepAnswered(step.position, completion.finish_reason, completion.usage, completion.duration_ms)
        )
        return completion

    def _observe(self, event: CallEvent) -> None:
        """Take what happens in the call under way. Raises `_Tripped`, which ends the stream."""
        step = self._open
        assert step is not None  # noqa: S101 - only called by the call that opened it
        trip: Trip | None = None
        match event:
            case TextDelta(text=text):
                step.text.append(text)
                trip = self._detectors.text("answer", text)
            case ReasoningDelta(text=text):
                step.reasoning.append(text)
                trip = self._detectors.text("reasoning", text)
            case ToolCallDelta(index=index, arguments=text) if text:
                trip = self._detectors.text("arguments", text, index=index)
            case UsageReport(usage=usage):
                step.usage = usage
            case Reset():
                step.text.clear()
                step.reasoning.clear()
                step.failed_tries = step.usage
                self._used += 1
                self._detectors.start_step()
        self._watch.observe(event)
        if trip is not None:
            raise _Tripped(trip)

    async def _act(self, completion: Completion, offered: Sequence[str]) -> LoopEnd | None:
        """Execute the calls of an answer."""
        cut_off = completion.finish_reason == "length" and _is_cut_off(completion.tool_calls[-1])
        whole = completion.tool_calls[:-1] if cut_off else completion.tool_calls
        calls = with_sendable_names(with_own_ids(whole, self._call_ids, self._ids.new_id))
        self._call_ids |= {call.id for call in calls}
        self._cut_off.clear()  # the model went back to work: its answer is still to come
        step = self._open
        assert step is not None  # noqa: S101 - the completion is its answer
        step.calls = calls
        if calls or completion.text:
            self._since.append(self._answered(completion, calls))
        category = self._routing.category
        try:
            async with asyncio.timeout(self._left_s()):
                batch = await self._execute(calls, offered)
        except TimeoutError:
            self._since += [Message.of_result(result) for result in self._toolbox.so_far(calls)]
            await self._keep()
            return self._cut_short("the deadline of the run passed while tools were running")
        self._since += [Message.of_result(result) for result in batch.results]
        trip = self._look_at(calls, batch.results, moved=self._routing.category != category)
        if cut_off:
            self._inject(CALL_CUT_OFF)
        if batch.stopped_by is not None:
            await self._keep()
            return LoopEnd(batch.stopped_by.text, "stop")
        if trip is not None:
            return await self._take_trip(trip)
        await self._keep()
        return None

    async def _execute(self, calls: Sequence[ToolCall], offered: Sequence[str]) -> Batch:
        """Execute the calls; `select_category` is the loop's own, and what follows it in its step waits."""
        routed = next((call for call in calls if call.name == SELECT and SELECT in offered), None)
        if routed is None:
            return await self._toolbox.execute(calls, offered, self._see)
        text, is_error = self._routing.select(routed)
        results = []
        for call in calls:
            told = text if call is routed else f"not executed: {SELECT} was called in the same step"
            failed = is_error if call is routed else True
            results.append(ToolResult(call.id, call.name, told, failed))
            self._see(call)
            self._see(results[-1])
        return Batch(tuple(results))

    def _see(self, seen: ToolCall | ToolResult) -> None:
        self._watch.observe(CallBegan(seen) if isinstance(seen, ToolCall) else CallEnded(seen))

    def _look_at(
        self, calls: Sequence[ToolCall], results: Sequence[ToolResult], *, moved: bool
    ) -> Trip | None:
        """Let the detectors see every result; return the first trip.

        Going to another category (`moved`) and back again is how a small model works, and no repeated call.
        """
        trips = []
        for call, result in zip(calls, results, strict=True):
            if moved and call.name == SELECT:
                continue
            spec = self._toolbox.spec(call.name)
            ran = result.started_at is not None
            trips.append(self._detectors.result(call, result, effect=spec.effect if spec and ran else None))
        return next((trip for trip in trips if trip is not None), None)

    async def _answer(self, completion: Completion) -> LoopEnd | None:
        """Take an answer without calls: the last one, or one that goes on."""
        self._since.append(self._answered(completion, ()))
        if (
            completion.finish_reason == "length"
            and completion.text
            and len(self._cut_off) < MOST_CONTINUATIONS
        ):
            self._inject(CONTINUE)
            await self._keep()
            self._cut_off.append(completion.text)
            return None
        correction = self._routing.correct_prose()
        if correction is not None and completion.finish_reason == "stop":
            self._inject(correction)
            await self._keep()
            self._cut_off.clear()  # it asks for the whole answer again
            return None
        used_tools = any(message.result is not None for message in self._since)
        trip = self._detectors.answer(completion.text, after_tools=used_tools)
        if trip is not None:
            return await self._take_trip(trip)
        text = "".join([*self._cut_off, completion.text])
        await self._keep()
        return LoopEnd(text, completion.finish_reason)

    async def _take_trip(self, trip: Trip) -> LoopEnd | None:
        """Correct the model once; the second time end the attempt."""
        step = self._open
        if step is not None and self._kept == len(self._since) and step.text:
            self._since.append(Message("assistant", "".join(step.text)))  # the stream was stopped
        decision = self._trips.take(trip, self._last_text())
        self._detectors.reset()
        if isinstance(decision, Correct):
            self._inject(decision.message)
            await self._keep()
            self._cut_off.clear()  # what comes now does not continue what was corrected
            return None
        text = self.text
        await self._keep()
        return LoopEnd(text, "other", decision.cause, decision.feedback)

    def _answered(self, completion: Completion, calls: tuple[ToolCall, ...]) -> Message:
        content = completion.content if calls == completion.tool_calls else ()
        own = Verbatim(self._request.model.name, content) if content else None
        return Message("assistant", completion.text, tool_calls=calls, verbatim=own)

    def _inject(self, text: str, origin: Origin = "loop") -> None:
        message = Message("user", text)
        self._watch.observe(Injected(message, origin))
        fresh = self._since[self._kept :]
        if not fresh:
            self._since.append(Message("assistant", NOTHING_SAID))
        elif fresh[-1] == Message("assistant", fresh[-1].text) and not fresh[-1].text.strip():
            self._since[-1] = Message("assistant", NOTHING_SAID)
        elif fresh[-1].role == "user":
            message = Message("user", f"{self._since.pop().text}\n\n{text}")
        self._since.append(message)

    def _last_text(self) -> str:
        step = self._open
        if step is not None and (step.text or step.reasoning):
            return "".join(step.text or step.reasoning)
        said = (message.text for message in reversed(self._since) if message.role == "assistant")
        return next((text for text in said if text not in {"", NOTHING_SAID}), "")

    async def _keep(self) -> None:
        """Make the step that has ended durable; its usage counts from here on as spent."""
        step = self._open
        if step is None:
            return
        prompt = self._prompt if self._anew else ()
        kept = KeptStep(
            position=step.position,
            messages=(*prompt, *self._since[self._kept :]),
            usage=step.usage,
            duration_ms=round((self._clock.monotonic() - step.began) * 1000),
            began_at=step.began_at,
            anew=self._anew,
        )
        self._said = self.text
        self._spent, self._open = self._spent + step.usage, None
        self._kept, self._anew = len(self._since), False
        await self._watch.keep(kept)

    async def _keep_interrupted(self) -> None:
        """Keep the step under way: its open text, the results there are, an error for each other call."""
        step = self._open
        if step is None:
            return
        if step.calls:
            answered = {message.result.call_id for message in self._since if message.result is not None}
            missing = [call for call in step.calls if call.id not in answered]
            self._since += [Message.of_result(result) for result in self._toolbox.so_far(missing)]
        elif step.text and self._kept == len(self._since):
            self._since.append(Message("assistant", "".join(step.text)))
        await self._keep()

    async def _make_room(self, tools: Sequence[ToolSpec]) -> bool:
        """Shrink or summarise what is old, where the next prompt would fill too much of the window.

        Returns whether the model was asked for a summary, in vain or not.
        """
        window, compact_at = self._request.model.context_window, self._request.policy.compact_at
        if window is None or not self._since:
            return False
        if self._request.model.label == "local" and self._estimate(tools) > window * SHRINK_AT:
            self._shrinker.move([*self._prompt, *self._since])
        used = self._used
        full = compact_at < 1 and self._estimate(tools) > window * compact_at
        if full and not self._summary_failed:
            await self._summarise()
        return self._used > used

    def _estimate(self, tools: Sequence[ToolSpec]) -> int:
        return self._gauge.estimate(self._shrinker.view([*self._prompt, *self._since]), tools)

    async def _summarise(self) -> bool:
        """Replace older messages by a summary; return whether that was done. It costs a step."""
        request = self._request
        chosen = plan(request.prompt, self._since, earlier=self._summary)
        if chosen is None or self._used + 1 >= request.policy.max_steps:
            return False
        if self._open is not None:
            await self._keep()
        began, began_at = self._clock.monotonic(), self._clock.now()
        position = self._used
        self._used += 1
        completion = await self._ask_for_summary(chosen)
        if completion is None:
            return False
        self._summary = completion.text.strip()
        compacted = chosen.compacted(self._summary)
        self._prompt, self._since = compacted[: len(request.prompt)], list(chosen.recent)
        self._kept, self._anew = len(self._since), False
        self._shrinker.forget()
        self._watch.observe(Compacted(len(chosen.old)))
        duration_ms = round((self._clock.monotonic() - began) * 1000)
        await self._watch.keep(
            KeptStep(position, compacted, completion.usage, duration_ms, began_at, anew=True, kind="summary")
        )
        return True

    async def _ask_for_summary(self, chosen: Plan) -> Completion | None:
        """Return the summary, None where there is none to be had; what it used is counted either way."""

        def observe(event: CallEvent) -> None:
            if isinstance(event, UsageReport):
                self._summary_usage = event.usage

        request, limits = self._request, self._limits()
        try:
            completion = await self._caller.complete(
                ModelRequest(request.model, chosen.request(self._ids.nonce())),
                replace(limits, total_s=min(limits.total_s, SUMMARY_TIMEOUT_S)),
                retry=replace(request.retry, retries=0),
                warm_state=None,
                observe=observe,
            )
        except ModelError as error:
            failure = error.message
        else:
            if completion.text.strip() and completion.finish_reason == "stop":
                return completion
            failure = f"it ended with {completion.finish_reason}"
        finally:
            self._spent, self._summary_usage = self._spent + self._summary_usage, Usage()
        self._summary_failed = True
        self._watch.observe(Compacted(0, failure))
        return None


def _is_cut_off(call: ToolCall) -> bool:
    """Return whether the last call of an answer that was cut off is not whole: its object is not closed."""
    return call.arguments is None or not call.raw.strip()
