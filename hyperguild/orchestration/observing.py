"""Tells what happens inside an attempt as events of its run, and notes what its record says of that."""

from __future__ import annotations

from collections.abc import Iterable

from hyperguild.agent.ahead import AheadBegan, AheadEnded
from hyperguild.agent.changes import Changes
from hyperguild.agent.speculation import SpeculationBegan, SpeculationEnded
from hyperguild.agent.toolbox import Toolbox
from hyperguild.agent.watch import (
    CallBegan,
    CallEnded,
    Compacted,
    HookFailed,
    Injected,
    LoopEvent,
    Replaced,
    StepAnswered,
    StepBegan,
)
from hyperguild.domain.events import (
    AnswerDelta,
    ContextCompacted,
    LoadWaiting,
    MessageInjected,
    SpeculationSettled,
    SpeculationStarted,
    StepFinished,
    StepReset,
    StepStarted,
    ThoughtDelta,
    ToolCalled,
    ToolReturned,
    TranscriptReplaced,
)
from hyperguild.domain.messages import ReasoningDelta, TextDelta
from hyperguild.domain.text import clipped
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.inference.events import Loading, Reset, Spoke
from hyperguild.orchestration.emitter import Emitter
from hyperguild.ports import Clock

SHOWN_RESULT_CHARS = 2000
"""Of a tool's result in an event; the session log has what the model was told."""


class AttemptObserver:
    """Observes the loop of one attempt; what is public is known at any moment.

    `position` and `finish_reason` are of the step under way, or the last; `retries` and `first_token_ms` of
    the whole attempt. `changes` are what its tools have changed. `answers`: its model is loaded by now, as
    far as somebody had to wait for that, or has begun to speak.
    """

    def __init__(self, model: str, toolbox: Toolbox, clock: Clock, emit: Emitter) -> None:
        self._model = model
        self._toolbox = toolbox
        self._clock = clock
        self._emit = emit
        self._calls: dict[str, ToolCall] = {}
        self._loaded_ms: int | None = None
        self._loading_since: float | None = None
        self.position = 0
        self.finish_reason: str | None = None
        self.retries = 0
        self.first_token_ms: int | None = None
        self.answers = False
        self.changes = Changes()

    def take_up(self, done: Iterable[tuple[ToolCall, ToolResult]]) -> None:
        """Note the calls that ran before the attempt was left."""
        for call, result in done:
            self._calls[call.id] = call
            self._note_change(result)

    def observe(self, event: LoopEvent) -> None:
        """Take an event of the loop."""
        match event:
            case StepBegan(position=position):
                self.position, self.finish_reason = position, None
                self._emit(StepStarted, position=position, model=self._model)
            case StepAnswered():
                self.finish_reason = event.finish_reason
                self._emit(
                    StepFinished,
                    position=event.position,
                    model=self._model,
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
                self._emit(LoadWaiting, model=self._model, waited_ms=waited_ms, loaded=loaded)
            case Spoke(after_ms=after_ms):
                self.answers = True
                self.first_token_ms = after_ms if self.first_token_ms is None else self.first_token_ms
            case Reset(reason=reason):
                self._loaded_ms, self._loading_since = self.load_ms(), None
                if self.position == 0:  # the first token of an attempt is that of its first step
                    self.first_token_ms = None
                self.retries += 1
                self._emit(StepReset, reason=reason)
            case _:
                self._observe_tools(event)

    def load_ms(self) -> int | None:
        """Return what the loads of all tries took, the one under way included; None where there was none."""
        if self._loading_since is None:
            return self._loaded_ms
        return (self._loaded_ms or 0) + round((self._clock.monotonic() - self._loading_since) * 1000)

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
                self._emit.warn(message)
            case Compacted(messages=messages, failure=failure):
                self._emit(ContextCompacted, messages=messages, failure=failure)
            case AheadBegan(model=model):
                self._emit(SpeculationStarted, kind="result", what=model)
            case AheadEnded():
                self._emit(
                    SpeculationSettled,
                    kind="result",
                    what=event.model,
                    outcome=event.outcome,
                    saved_ms=event.ahead_ms,
                    wasted=event.wasted,
                    wasted_usd=event.wasted_usd,
                )
            case SpeculationBegan(guess=guess):
                self._emit(SpeculationStarted, kind="tool", what=guess.shown())
            case SpeculationEnded(guess=guess, outcome=outcome, ahead_ms=saved_ms):
                self._emit(
                    SpeculationSettled, kind="tool", what=guess.shown(), outcome=outcome, saved_ms=saved_ms
                )

    def _note_change(self, result: ToolResult) -> None:
        call, spec = self._calls.get(result.call_id), self._toolbox.spec(result.name)
        if call is not None and spec is not None and result.started_at is not None:
            self.changes.take(call, result, spec.effect)

    def _note_load(self, loading: Loading) -> None:
        """Keep when the load of this try began, and what loads of all tries took."""
        if loading.loaded:
            self.answers = True
            self._loaded_ms, self._loading_since = self.load_ms(), None
        elif self._loading_since is None:
            self._loading_since = self._clock.monotonic() - loading.waited_ms / 1000
