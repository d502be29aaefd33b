"""The agent loop: model calls and tools in turns, until there is an answer or a reason to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from hyperguild.agent.asides import Asides, AsideTerms, AsideTools
from hyperguild.agent.conversation import Conversation
from hyperguild.agent.corrections import Correct, TripPolicy
from hyperguild.agent.detectors import Detectors, Trip
from hyperguild.agent.resumption import CONTINUE
from hyperguild.agent.routing import SELECT, ToolRouting, is_two_stage
from hyperguild.agent.steering import Decision, Steering
from hyperguild.agent.summarising import StepBudget, Summariser, SummaryTerms, SummaryTools
from hyperguild.agent.terms import Allowance, Left, LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.toolbox import Batch
from hyperguild.agent.transcript import repaired, with_own_ids, with_sendable_names
from hyperguild.agent.watch import (
    CallBegan,
    CallEnded,
    HookFailed,
    Injected,
    KeptStep,
    LoopWatch,
    Origin,
    Replaced,
    StepAnswered,
    StepBegan,
)
from hyperguild.domain.messages import (
    Completion,
    FinishReason,
    Message,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    Verbatim,
)
from hyperguild.domain.records import ModelUse
from hyperguild.domain.text import clipped_tail
from hyperguild.domain.tools import ToolCall, ToolChoice, ToolResult, ToolSpec
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import BudgetRefusedError, ContextOverflowError
from hyperguild.inference.events import CallEvent, Reset

MOST_CONTINUATIONS = 2
"""So often an answer that was cut off is continued."""

CALL_CUT_OFF = (
    "Your last tool call was cut off at the limit of your output and was dropped. "
    "Call it again with shorter arguments, or split the work over several calls."
)
GO_ON = "Go on."
"""What a model is told that is to go on, though nobody has said with what."""

NOT_YET_CHARS = 1000
"""Of what a hook said of an answer, in the feedback; its end, which says why."""

REASONING_KEPT_CHARS = 20_000
"""Of a step's reasoning, in the log; its end, where the decision is."""


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
    pending: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None


class AgentLoop:
    """The loop of one attempt: `run` it once. `usage`, `asides` and `text` are known at any moment."""

    def __init__(self, request: LoopRequest, tools: LoopTools, watch: LoopWatch) -> None:
        self._request = request
        self._caller, self._toolbox = tools.caller, tools.toolbox
        self._clock, self._ids = tools.clock, tools.ids
        self._watch = watch
        self._allowance = Allowance(request, tools.clock, self._spent_usd)
        specs = tools.toolbox.specs if request.model.tools else ()
        two_stage = is_two_stage(request.policy.two_stage, request.model, specs)
        self._routing = ToolRouting(specs, two_stage=two_stage)
        self._detectors, self._trips = Detectors(), TripPolicy()
        self._steering = Steering(
            tools.hooks, lambda line: watch.observe(HookFailed(line)), self._allowance.left_s
        )
        self._steps = StepBudget(request.policy.max_steps)
        self._cut_off: list[str] = []
        self._pauses = 0
        self._said = ""
        self._spent = Usage()
        self._conversation = self._begun(request)
        self._summaries = Summariser(
            SummaryTerms(request.model, request.policy.compact_at, request.retry, self._allowance.limits),
            SummaryTools(tools.caller, tools.clock, tools.ids, watch),
            self._conversation,
            self._steps,
        )
        self._others = Asides(
            AsideTools(tools.caller, tools.clock, tools.ids, watch, tools.models),
            AsideTerms(replace(request.retry, retries=0), self._allowance.limits, self._allowance.left_usd),
            self._steps,
        )
        self._call_ids: set[str] = set()
        self._open: _OpenStep | None = None
        self._completed: Completion | None = None
        self._not_yet = ""
        """What a hook said of the last step's answer instead of letting it be the end."""

    def _begun(self, request: LoopRequest) -> Conversation:
        """Return the transcript to begin with; of an attempt that is continued, all that it had."""
        resume = request.resume
        if resume is None:
            return Conversation(request.prompt, on_record=False)
        self._steps.used, self._spent = resume.used_steps, resume.usage
        messages, length = resume.sendable, resume.prompt_length
        self._routing.recall(call for message in messages for call in message.tool_calls)
        parts = resume.parts_of_answer
        if resume.answered:
            self._said = "".join(parts)
        else:
            self._cut_off = list(parts)
        return Conversation(messages[:length], messages[length:], on_record=True)

    @property
    def usage(self) -> Usage:
        """What the model has used, the step or the summary under way included."""
        spent = self._spent + self._summaries.spent
        return spent if self._open is None else spent + self._open.usage

    def _spent_usd(self) -> float | None:
        return total_cost_usd([self._request.model.cost_usd(self.usage), self._others.cost_usd])

    @property
    def asides(self) -> tuple[ModelUse, ...]:
        """What other models have used that were asked within the attempt."""
        return tuple(self._others.uses)

    def count(self, use: ModelUse) -> None:
        """Count what was used on behalf of the attempt, but not by it."""
        self._others.add(use)

    def left(self) -> Left:
        """Return what may be used on behalf of the attempt now; what a next step may cost is set aside."""
        left_usd = self._allowance.left_usd()
        next_cost = self._request.model.worst_cost_usd(self._summaries.estimate(self._routing.offer()[0]))
        spare_usd = None if left_usd is None else max(left_usd - (next_cost or 0.0), 0.0)
        return Left(self._allowance.left_s(), spare_usd)

    @property
    def text(self) -> str:
        """The answer so far: what was cut off and continued, and what is being streamed, or was last."""
        if self._open is None:
            return self._said
        return "".join([*self._cut_off, *self._open.text])

    async def run(self) -> LoopEnd:
        """Work until there is an answer, or a reason to stop.

        Raises `ModelError`, and what those raise who are asked for permission. Cancelling stops model and
        tools at once. However it ends, the step under way is kept with what it has.
        """
        try:
            end = await self._steered(self._resumed())
            while end is None and self._steps.left:
                end = self._out_of_budget() or await self._step()
                end = await self._steered(end)
        finally:
            await self._keep_interrupted()  # there is none where the loop came to its end
        if self._conversation.fresh and (end is None or not end.pending):
            await self._keep_injected()
        if end is not None:
            self._said = end.text
            return end
        used_up = f"the attempt used up its {self._request.policy.max_steps} steps"
        why = f"{used_up} without an answer"
        if self._not_yet:
            why = f"{used_up}; its last answer was sent back with: {self._not_yet}"
        return LoopEnd(self.text, "other", "max_steps", self._with_last_text(why))

    def _resumed(self) -> LoopEnd | None:
        """Take up an attempt that left off; return the end, where its answer was there already."""
        resume = self._request.resume
        if resume is None:
            return None
        if resume.answered:
            return LoopEnd(self._said, "stop")
        if resume.paused:
            self._completed = self._conversation.last_completion()
        if self._cut_off and self._conversation.messages[-1].role == "assistant":
            self._inject(CONTINUE)
        return None

    def _out_of_budget(self) -> LoopEnd | None:
        """Return the end where time or money does not allow another step; the first was allowed before."""
        if self._steps.used == 0:
            return None
        left_s = self._allowance.left_s()
        if left_s is not None and left_s <= 0:
            return self._cut_short("the deadline of the run passed in the middle of the attempt")
        left_usd = self._allowance.left_usd()
        next_cost = self._request.model.worst_cost_usd(self._summaries.estimate(self._routing.offer()[0]))
        if left_usd is not None and next_cost and next_cost > left_usd:
            return self._cut_short("the budget of the run does not allow another step")
        return None

    def _cut_short(self, why: str) -> LoopEnd:
        if self._cut_off:  # the answer is there, but for its end
            return LoopEnd(self._said, "length")
        return LoopEnd(self._said, "other", "budget", self._with_last_text(why))

    async def _step(self) -> LoopEnd | None:
        """Make one model call and execute what it asks for; return the end, if that is it."""
        await self._before_step()
        tools, choice = self._routing.offer()
        if choice == "auto" and self._steps.used == 0:
            choice = self._request.tool_choice
        if await self._summaries.make_room(tools):
            return None  # that has cost time and money, which are to be looked at again
        sent = repaired(self._summaries.view(), self._ids.new_id)
        try:
            completion = await self._complete(sent, tools, choice)
        except _Tripped as tripped:
            return await self._take_trip(tripped.trip)
        except BudgetRefusedError as refused:
            await self._keep()
            return self._cut_short(refused.message)
        except ContextOverflowError:
            await self._keep()
            if self._summaries.failed or not await self._summaries.summarise():
                raise
            return None
        self._completed = completion
        withheld = completion.finish_reason in {"refusal", "content_filter"}
        if completion.tool_calls and tools and not withheld:
            return await self._act(completion, [tool.name for tool in tools])
        return await self._answer(completion)

    async def _before_step(self) -> None:
        replaced = await self._steering.before_step(self._conversation.messages)
        if replaced is not None:
            self._replace(replaced)

    async def _steered(self, end: LoopEnd | None) -> LoopEnd | None:
        """Let the hooks see the step that was answered; return the end, if that is what it comes to."""
        completion, self._completed = self._completed, None
        self._not_yet = ""
        if completion is None or (end is not None and end.pending):
            return end
        decision = await self._steering.after_step(
            completion, self._conversation.messages, self._others.generate
        )
        self._carry_out(decision)
        if end is not None and end.cause is not None:
            return end
        if decision.stops:
            return end or LoopEnd(self._last_text(), "stop")
        if end is None:
            return None
        told = None if decision.goes_on else await self._steering.on_stop(end.text)
        if told is not None:
            self._not_yet = clipped_tail(told, NOT_YET_CHARS)
            self._inject(told, "hook")
        if told is None and not decision.goes_on:
            return end
        if self._conversation.messages[-1].role == "assistant":
            self._inject(GO_ON, "hook")
        self._said = end.text
        self._cut_off.clear()  # what comes now is another answer
        return None

    def _carry_out(self, decision: Decision) -> None:
        if decision.replaced is not None:
            self._replace(decision.replaced)
        for message in decision.appended:
            self._watch.observe(Injected(message, "hook"))
        if decision.appended:
            self._conversation.append(decision.appended, self._ids.new_id)

    def _replace(self, messages: Sequence[Message]) -> None:
        self._watch.observe(Replaced(len(messages), "hook"))
        self._conversation.replace(messages, self._ids.new_id)
        self._summaries.forget()

    async def _complete(
        self, messages: Sequence[Message], tools: tuple[ToolSpec, ...], choice: ToolChoice
    ) -> Completion:
        """Ask the model. Raises `_Tripped` where a detector stops it, and `ModelError`."""
        request = self._request
        self._open = step = _OpenStep(self._steps.take(), self._clock.monotonic(), self._clock.now())
        self._detectors.start_step()
        self._watch.observe(StepBegan(step.position))
        completion = await self._caller.complete(
            ModelRequest(
                request.model,
                tuple(messages),
                tools=tools,
                tool_choice=choice,
                provider_tools=request.model.tools,
            ),
            self._allowance.limits(),
            retry=replace(request.retry, retries=self._retries(messages, tools)),
            warm_state=request.warm_state
            if step.position == 0
            else await self._caller.warm_state(request.model),
            observe=self._observe,
        )
        step.usage, step.finish_reason = completion.usage, completion.finish_reason
        self._summaries.gauge.learn(messages, tools, step.usage.input_tokens - step.failed_tries.input_tokens)
        self._watch.observe(
            StepAnswered(step.position, completion.finish_reason, completion.usage, completion.duration_ms)
        )
        return completion

    def _retries(self, messages: Sequence[Message], tools: tuple[ToolSpec, ...]) -> int:
        """Return how often a call may be tried again: each try is a step, and is paid for."""
        most = min(self._request.retry.retries, self._steps.left)
        return self._allowance.retries(self._summaries.gauge.estimate(messages, tools), most)

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
            case Reset(began=began):
                step.text.clear()
                step.reasoning.clear()
                step.failed_tries = step.usage
                if began:  # to wait for room is no step
                    self._steps.take()
                self._detectors.start_step()
        self._watch.observe(event)
        if trip is not None:
            raise _Tripped(trip)

    async def _act(self, completion: Completion, offered: Sequence[str]) -> LoopEnd | None:
        """Execute the calls of an answer."""
        cut_off = completion.finish_reason == "length" and _is_cut_off(completion.tool_calls[-1])
        whole = completion.tool_calls[:-1] if cut_off else completion.tool_calls
        self._call_ids |= self._conversation.call_ids  # hooks bring some, and attempts that are continued
        calls = with_sendable_names(with_own_ids(whole, self._call_ids, self._ids.new_id))
        self._call_ids |= {call.id for call in calls}
        self._cut_off.clear()  # the model went back to work: its answer is still to come
        step = self._open
        assert step is not None  # noqa: S101 - the completion is its answer
        step.calls = calls
        if calls or completion.text:
            self._conversation.since.append(self._answered(completion, calls))
        category = self._routing.category
        try:
            async with asyncio.timeout(self._allowance.left_s()):
                batch = await self._execute(calls, offered)
        except TimeoutError:
            self._hear(self._toolbox.so_far(calls))
            await self._keep()
            return self._cut_short("the deadline of the run passed while tools were running")
        self._hear(batch.results)
        if batch.pending:
            step.pending = batch.pending
            await self._keep()
            return LoopEnd(completion.text, "tool_calls", pending=batch.pending)
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

    def _hear(self, results: Sequence[ToolResult]) -> None:
        self._conversation.since += [Message.of_result(result) for result in results]

    async def _execute(self, calls: Sequence[ToolCall], offered: Sequence[str]) -> Batch:
        """Execute the calls, but for those that the routing answers itself."""
        answered = self._routing.take(calls, offered)
        return await self._toolbox.execute(calls, offered, self._see, self._steering, answered)

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
        self._conversation.since.append(self._answered(completion, ()))
        self._pauses = self._pauses if self._cut_off else 0
        if completion.finish_reason == "paused":  # it gets its turn back as it is, and goes on
            await self._keep()
            self._cut_off.append(completion.text)
            self._pauses += 1
            return None
        if (
            completion.finish_reason == "length"
            and completion.text
            and len(self._cut_off) - self._pauses < MOST_CONTINUATIONS
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
        trip = self._detectors.answer(completion.text, after_tools=self._conversation.used_tools)
        if trip is not None:
            return await self._take_trip(trip)
        text = "".join([*self._cut_off, completion.text])
        await self._keep()
        return LoopEnd(text, completion.finish_reason)

    async def _take_trip(self, trip: Trip) -> LoopEnd | None:
        """Correct the model once; the second time end the attempt."""
        step = self._open
        if step is not None and not self._conversation.fresh and step.text:
            self._conversation.since.append(self._open_message(step))  # the stream was stopped
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
        reasoning = self._open_message(self._open).reasoning if self._open is not None else ""
        return Message(
            "assistant",
            completion.text,
            tool_calls=calls,
            verbatim=own,
            reasoning=reasoning,
            sources=completion.sources,
        )

    def _open_message(self, step: _OpenStep) -> Message:
        """Return what a step has said so far."""
        reasoning = clipped_tail("".join(step.reasoning), REASONING_KEPT_CHARS)
        return Message("assistant", "".join(step.text), reasoning=reasoning)

    def _inject(self, text: str, origin: Origin = "loop") -> None:
        self._watch.observe(Injected(Message("user", text), origin))
        self._conversation.inject(text)

    def _with_last_text(self, why: str) -> str:
        text = self._last_text()
        return f"{why}; its last text: {text}" if text else why

    def _last_text(self) -> str:
        step = self._open
        if step is not None and (step.text or step.reasoning):
            return "".join(step.text or step.reasoning)
        return self._conversation.last_text()

    async def _keep(self) -> None:
        """Make the step that has ended durable; its usage counts from here on as spent."""
        step = self._open
        if step is None:
            return
        kept = KeptStep(
            position=step.position,
            anew=self._conversation.anew,
            messages=self._conversation.take(),
            usage=step.usage,
            duration_ms=round((self._clock.monotonic() - step.began) * 1000),
            began_at=step.began_at,
            model=self._request.model.name,
            finish_reason=step.finish_reason,
            pending=step.pending,
        )
        self._said = self.text
        self._spent, self._open = self._spent + step.usage, None
        await self._watch.keep(kept)

    async def _keep_injected(self) -> None:
        """Make durable what hooks added after the last step."""
        anew, now = self._conversation.anew, self._clock.now()
        messages = self._conversation.take()
        await self._watch.keep(KeptStep(self._steps.used, messages, Usage(), 0, now, anew, kind="injected"))

    async def _keep_interrupted(self) -> None:
        """Keep the step under way: its open text, the results there are, an error for each other call."""
        step = self._open
        if step is None:
            return
        conversation = self._conversation
        if step.calls:
            answered = {
                message.result.call_id for message in conversation.since if message.result is not None
            }
            missing = [call for call in step.calls if call.id not in answered]
            self._hear(self._toolbox.so_far(missing))
        elif not conversation.fresh and (step.text or step.reasoning):
            conversation.since.append(self._open_message(step))
        await self._keep()


def _is_cut_off(call: ToolCall) -> bool:
    """Return whether the last call of an answer that was cut off is not whole: its object is not closed."""
    return call.arguments is None or not call.raw.strip()
