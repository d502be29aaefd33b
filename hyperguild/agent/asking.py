"""Asks the model of an attempt for one step, under the eyes of the detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from hyperguild.agent.ahead import StepAhead
from hyperguild.agent.detectors import Detectors, Trip
from hyperguild.agent.gauge import TokenGauge
from hyperguild.agent.open_step import OpenStep
from hyperguild.agent.summarising import StepBudget
from hyperguild.agent.terms import Allowance, LoopRequest
from hyperguild.agent.watch import LoopWatch, StepAnswered, StepBegan
from hyperguild.domain.messages import (
    Completion,
    Message,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from hyperguild.domain.tools import ToolChoice, ToolSpec
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Reset


class Tripped(Exception):
    """A detector has stopped the stream."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip.kind)
        self.trip = trip


@dataclass(frozen=True, slots=True)
class AskingTools:
    """What asking takes; all but the caller belongs to one attempt."""

    caller: ModelCaller
    steps: StepBudget
    allowance: Allowance
    detectors: Detectors
    gauge: TokenGauge
    watch: LoopWatch
    ahead: StepAhead | None = None


class Asking:
    """Asks the model of one attempt."""

    def __init__(self, request: LoopRequest, tools: AskingTools) -> None:
        self._request = request
        self._tools = tools

    async def ask(
        self, step: OpenStep, messages: Sequence[Message], offered: tuple[ToolSpec, ...], choice: ToolChoice
    ) -> Completion:
        """Return the model's answer; `step` has at any moment what came of it.

        Raises `Tripped` where a detector stops it, `ModelError`, and `BudgetRefusedError`. Cancelling stops
        the model.
        """
        request, tools = self._request, self._tools
        tools.detectors.start_step()
        tools.watch.observe(StepBegan(step.position))
        wanted = self.request(messages, offered, choice)
        ahead = tools.ahead
        completion = None if ahead is None else await ahead.take(wanted, partial(self._observe, step))
        completion = completion or await tools.caller.complete(
            wanted,
            tools.allowance.limits(),
            retry=replace(request.retry, retries=self._retries(messages, offered)),
            warm_state=request.warm_state
            if step.position == 0
            else await tools.caller.warm_state(request.model),
            observe=lambda event: self._observe(step, event),
        )
        step.usage, step.finish_reason = completion.usage, completion.finish_reason
        tools.gauge.learn(messages, offered, step.usage.input_tokens - step.failed_tries.input_tokens)
        tools.watch.observe(
            StepAnswered(step.position, completion.finish_reason, completion.usage, completion.duration_ms)
        )
        return completion

    def request(
        self, messages: Sequence[Message], offered: tuple[ToolSpec, ...], choice: ToolChoice
    ) -> ModelRequest:
        """Return what the model is sent."""
        model = self._request.model
        return ModelRequest(
            model, tuple(messages), tools=offered, tool_choice=choice, provider_tools=model.tools
        )

    def _retries(self, messages: Sequence[Message], offered: tuple[ToolSpec, ...]) -> int:
        """Return how often a call may be tried again: each try is a step, and is paid for."""
        tools = self._tools
        most = min(self._request.retry.retries, tools.steps.left)
        return tools.allowance.retries(tools.gauge.estimate(messages, offered), most)

    def _observe(self, step: OpenStep, event: CallEvent) -> None:
        """Take what happens in the call under way. Raises `Tripped`, which ends the stream."""
        detectors = self._tools.detectors
        trip: Trip | None = None
        match event:
            case TextDelta(text=text):
                step.text.append(text)
                trip = detectors.text("answer", text)
            case ReasoningDelta(text=text):
                step.reasoning.append(text)
                trip = detectors.text("reasoning", text)
            case ToolCallDelta(index=index, arguments=text) if text:
                trip = detectors.text("arguments", text, index=index)
            case UsageReport(usage=usage):
                step.usage = usage
            case Reset(began=began):
                step.begin_anew()
                if began:  # to wait for room is no step
                    self._tools.steps.take()
                detectors.start_step()
        self._tools.watch.observe(event)
        if trip is not None:
            raise Tripped(trip)
