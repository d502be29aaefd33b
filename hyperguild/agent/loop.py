"""The agent loop: model calls and tools in turns, until there is an answer or a reason to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hyperguild.agent.acting import Acting, Guesses
from hyperguild.agent.ahead import AheadTerms, StepAhead
from hyperguild.agent.answer_parts import AnswerParts
from hyperguild.agent.asides import Asides, AsideTerms, AsideTools
from hyperguild.agent.asking import Asking, AskingTools, Tripped
from hyperguild.agent.conversation import Conversation
from hyperguild.agent.corrections import Correct, TripPolicy
from hyperguild.agent.detectors import Detectors, Trip
from hyperguild.agent.guesses import Seen
from hyperguild.agent.interjections import Interjections
from hyperguild.agent.open_step import OpenStep
from hyperguild.agent.resumption import CONTINUE
from hyperguild.agent.routing import ToolRouting, is_two_stage
from hyperguild.agent.speculation import EarlyCalls, SpeculationCount
from hyperguild.agent.steering import Steering
from hyperguild.agent.summarising import StepBudget, Summariser, SummaryTerms, SummaryTools
from hyperguild.agent.terms import Allowance, Left, LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.transcript import repaired
from hyperguild.agent.watch import (
    HookFailed,
    KeptStep,
    LoopWatch,
)
from hyperguild.domain.messages import (
    Completion,
    Message,
    ModelRequest,
    Verbatim,
)
from hyperguild.domain.records import ModelUse
from hyperguild.domain.text import clipped_tail
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import BudgetRefusedError, ContextOverflowError

CALL_CUT_OFF = (
    "Your last tool call was cut off at the limit of your output and was dropped. "
    "Call it again with shorter arguments, or split the work over several calls."
)
GO_ON = "Go on."
"""What a model is told that is to go on, though nobody has said with what."""

NOT_YET_CHARS = 1000
"""Of what a hook said of an answer, in the feedback; its end, which says why."""


class AgentLoop:
    """The loop of one attempt: `run` it once. `usage`, `asides` and `text` are known at any moment."""

    def __init__(self, request: LoopRequest, tools: LoopTools, watch: LoopWatch) -> None:
        self._request = request
        self._clock, self._ids = tools.clock, tools.ids
        self._watch = watch
        self._allowance = Allowance(request, tools.clock, self._spent_usd)
        specs = tools.toolbox.specs if request.model.tools else ()
        two_stage = is_two_stage(request.policy.two_stage, request.model, specs)
        self._routing = ToolRouting(specs, two_stage=two_stage)
        self._detectors, self._trips = Detectors(), TripPolicy()
        self._parts = AnswerParts()
        self._steering = Steering(
            tools.hooks, lambda line: watch.observe(HookFailed(line)), self._allowance.left_s
        )
        self._steps = StepBudget(request.policy.max_steps)
        self._said = ""
        self._spent = Usage()
        self._conversation = self._begun(request)
        self._summaries = Summariser(
            SummaryTerms(request.model, request.policy.compact_at, request.retry, self._allowance.limits),
            SummaryTools(tools.caller, tools.clock, tools.ids, watch),
            self._conversation,
            self._steps,
        )
        self._interjections = Interjections(self._conversation, watch, tools.ids, self._summaries.forget)
        self._others = Asides(
            AsideTools(tools.caller, tools.clock, tools.ids, watch, tools.models),
            AsideTerms(replace(request.retry, retries=0), self._allowance.limits, self._allowance.left_usd),
            self._steps,
        )
        self._ahead = self._step_ahead(tools) if request.policy.speculate_results else None
        gauge = self._summaries.gauge
        self._asking = Asking(
            request,
            AskingTools(
                tools.caller, self._steps, self._allowance, self._detectors, gauge, watch, self._ahead
            ),
        )
        self._early = self._early_calls(tools)
        self._acting = Acting(
            tools.toolbox,
            self._routing,
            self._steering,
            self._detectors,
            watch,
            tools.ids,
            Guesses(self._early, self._ahead),
        )
        self._open: OpenStep | None = None
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
            self._parts = AnswerParts(parts)
        return Conversation(messages[:length], messages[length:], on_record=True)

    def _early_calls(self, tools: LoopTools) -> EarlyCalls | None:
        if tools.predictor is None:
            return None
        seen_first = self._steering.sees_first
        return EarlyCalls(
            tools.predictor, tools.toolbox, tools.clock, tools.ids, self._watch.observe, seen_first
        )

    def _step_ahead(self, tools: LoopTools) -> StepAhead:
        terms = AheadTerms(
            self._request.retry,
            self._allowance.limits,
            self._allowance.left_usd,
            lambda: bool(self._steps.left),
            self._clock.monotonic,
        )
        return StepAhead(tools.caller, terms, self._others.add, self._watch.observe)

    def _if_told(self, results: Sequence[ToolResult]) -> ModelRequest:
        """Return what the model would be asked next, were these the results of the step."""
        since = self._conversation.since
        length = len(since)
        self._hear(results)
        try:
            sent = repaired(self._summaries.view(), self._ids.new_id)
        finally:
            del since[length:]
        return self._asking.request(sent, *self._routing.offer())

    @property
    def speculated(self) -> SpeculationCount | None:
        """What came of calls that were started early; None where none are."""
        return None if self._early is None else self._early.count

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
        next_cost = self._next_cost_usd()
        spare_usd = None if left_usd is None else max(left_usd - (next_cost or 0.0), 0.0)
        return Left(self._allowance.left_s(), spare_usd)

    @property
    def text(self) -> str:
        """The answer so far: what was cut off and continued, and what is being streamed, or was last."""
        if self._open is None:
            return self._said
        return self._parts.joined_by("".join(self._open.text))

    async def run(self) -> LoopEnd:
        """Work until there is an answer, or a reason to stop.

        Raises `ModelError`, and what those raise who are asked for permission. Cancelling stops model and
        tools at once. However it ends, the step under way is kept with what it has.
        """
        try:
            end = await self._steered(self._resumed())
            while end is None and self._steps.left:
                end = self._out_of_budget() or await self._step()
                if self._early is not None:
                    self._early.settle()
                end = await self._steered(end)
        finally:
            try:
                if self._early is not None:
                    await self._early.close()
                if self._ahead is not None:
                    await self._ahead.close()
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
        if self._parts and self._conversation.messages[-1].role == "assistant":
            self._interjections.inject(CONTINUE)
        return None

    def _out_of_budget(self) -> LoopEnd | None:
        """Return the end where time or money does not allow another step; the first was allowed before."""
        if self._steps.used == 0:
            return None
        left_s = self._allowance.left_s()
        if left_s is not None and left_s <= 0:
            return self._cut_short("the deadline of the run passed in the middle of the attempt")
        left_usd = self._allowance.left_usd()
        next_cost = self._next_cost_usd()
        if left_usd is not None and next_cost and next_cost > left_usd:
            return self._cut_short("the budget of the run does not allow another step")
        return None

    def _next_cost_usd(self) -> float | None:
        """Return what the next step may cost at most; None where nobody knows."""
        return self._request.model.worst_cost_usd(self._summaries.estimate(self._routing.offer()[0]))

    def _cut_short(self, why: str) -> LoopEnd:
        if self._parts:  # the answer is there, but for its end
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
        self._open = step = OpenStep(self._steps.take(), self._clock.monotonic(), self._clock.now())
        if self._early is not None and choice != "none":
            self._early.begin(self._seen(), [tool.name for tool in tools])
        try:
            completion = await self._asking.ask(step, sent, tools, choice)
        except Tripped as tripped:
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
            return await self._act(step, completion, [tool.name for tool in tools])
        return await self._answer(completion)

    def _seen(self) -> Seen:
        messages = self._conversation.messages
        asked = [message.text for message in self._request.prompt if message.role == "user"]
        task = asked[-1] if asked else ""
        return Seen(task, tuple(call for message in messages for call in message.tool_calls))

    async def _before_step(self) -> None:
        replaced = await self._steering.before_step(self._conversation.messages)
        if replaced is not None:
            self._interjections.replace(replaced)

    async def _steered(self, end: LoopEnd | None) -> LoopEnd | None:
        """Let the hooks see the step that was answered; return the end, if that is what it comes to."""
        completion, self._completed = self._completed, None
        self._not_yet = ""
        if completion is None or (end is not None and end.pending):
            return end
        decision = await self._steering.after_step(
            completion, self._conversation.messages, self._others.generate
        )
        self._interjections.carry_out(decision)
        if end is not None and end.cause is not None:
            return end
        if decision.stops:
            return end or LoopEnd(self._last_text(), "stop")
        if end is None:
            return None
        told = None if decision.goes_on else await self._steering.on_stop(end.text)
        if told is not None:
            self._not_yet = clipped_tail(told, NOT_YET_CHARS)
            self._interjections.inject(told, "hook")
        if told is None and not decision.goes_on:
            return end
        if self._conversation.messages[-1].role == "assistant":
            self._interjections.inject(GO_ON, "hook")
        self._said = end.text
        self._parts.forget()  # what comes now is another answer
        return None

    async def _act(self, step: OpenStep, completion: Completion, offered: Sequence[str]) -> LoopEnd | None:
        """Execute the calls of an answer."""
        calls, cut_off = self._acting.calls_of(completion, self._conversation.call_ids)
        self._parts.forget()  # the model went back to work: its answer is still to come
        step.calls = calls
        if calls or completion.text:
            self._conversation.since.append(self._answered(completion, calls))
        if self._ahead is not None and not cut_off:
            self._ahead.begin(calls, self._if_told)
        try:
            async with asyncio.timeout(self._allowance.left_s()):
                batch, trip = await self._acting.execute(calls, offered)
        except TimeoutError:
            self._hear(self._acting.so_far(calls))
            await self._keep()
            return self._cut_short("the deadline of the run passed while tools were running")
        self._hear(batch.results)
        if batch.pending:
            step.pending = batch.pending
            await self._keep()
            return LoopEnd(completion.text, "tool_calls", pending=batch.pending)
        if cut_off:
            self._interjections.inject(CALL_CUT_OFF)
        if batch.stopped_by is not None:
            await self._keep()
            return LoopEnd(batch.stopped_by.text, "stop")
        if trip is not None:
            return await self._take_trip(trip)
        await self._keep()
        return None

    def _hear(self, results: Sequence[ToolResult]) -> None:
        self._conversation.since += [Message.of_result(result) for result in results]

    async def _answer(self, completion: Completion) -> LoopEnd | None:
        """Take an answer without calls: the last one, or one that goes on."""
        self._conversation.since.append(self._answered(completion, ()))
        paused = completion.finish_reason == "paused"  # it gets its turn back as it is, and goes on
        if paused or self._parts.may_go_on(completion):
            if not paused:
                self._interjections.inject(CONTINUE)
            await self._keep()
            self._parts.add(completion)
            return None
        correction = self._routing.correct_prose()
        if correction is not None and completion.finish_reason == "stop":
            self._interjections.inject(correction)
            await self._keep()
            self._parts.forget()  # it asks for the whole answer again
            return None
        trip = self._detectors.answer(completion.text, after_tools=self._conversation.used_tools)
        if trip is not None:
            return await self._take_trip(trip)
        text = self._parts.joined_by(completion.text)
        await self._keep()
        return LoopEnd(text, completion.finish_reason)

    async def _take_trip(self, trip: Trip) -> LoopEnd | None:
        """Correct the model once; the second time end the attempt."""
        step = self._open
        if step is not None and not self._conversation.fresh and step.text:
            self._conversation.since.append(step.said())  # the stream was stopped
        decision = self._trips.take(trip, self._last_text())
        self._detectors.reset()
        if isinstance(decision, Correct):
            self._interjections.inject(decision.message)
            await self._keep()
            self._parts.forget()  # what comes now does not continue what was corrected
            return None
        text = self.text
        await self._keep()
        return LoopEnd(text, "other", decision.cause, decision.feedback)

    def _answered(self, completion: Completion, calls: tuple[ToolCall, ...]) -> Message:
        content = completion.content if calls == completion.tool_calls else ()
        own = Verbatim(self._request.model.name, content) if content else None
        reasoning = self._open.said().reasoning if self._open is not None else ""
        return Message(
            "assistant",
            completion.text,
            tool_calls=calls,
            verbatim=own,
            reasoning=reasoning,
            sources=completion.sources,
        )

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
        anew, now = self._conversation.anew, self._clock.monotonic()
        kept = step.kept(self._request.model.name, self._conversation.take(), now, anew=anew)
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
            self._hear(self._acting.so_far(missing))
        elif not conversation.fresh and (step.text or step.reasoning):
            conversation.since.append(step.said())
        await self._keep()
