"""What can be seen of a loop while it runs, and what must be kept of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hyperguild.agent.ahead import AheadBegan, AheadEnded
from hyperguild.agent.speculation import SpeculationBegan, SpeculationEnded
from hyperguild.domain.messages import Message
from hyperguild.domain.records import StepKind
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage
from hyperguild.inference.events import CallEvent

Origin = Literal["loop", "hook"]


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A model call begins; `position` counts them from 0."""

    position: int


@dataclass(frozen=True, slots=True)
class StepAnswered:
    """A model call ended with an answer."""

    position: int
    finish_reason: str
    usage: Usage
    duration_ms: int


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A tool call is about to be executed, or refused."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A tool call has its result."""

    result: ToolResult


@dataclass(frozen=True, slots=True)
class Injected:
    """A message that no model wrote was added to the transcript."""

    message: Message
    origin: Origin


@dataclass(frozen=True, slots=True)
class Replaced:
    """The whole transcript was replaced by so many messages."""

    messages: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class HookFailed:
    """A hook failed; what that means for call or step is said elsewhere."""

    message: str


@dataclass(frozen=True, slots=True)
class Compacted:
    """Older messages were replaced by a summary; `failure` says why they were not."""

    messages: int
    failure: str = ""


LoopEvent = (
    CallEvent
    | StepBegan
    | StepAnswered
    | CallBegan
    | CallEnded
    | Injected
    | Replaced
    | HookFailed
    | Compacted
    | SpeculationBegan
    | SpeculationEnded
    | AheadBegan
    | AheadEnded
)


@dataclass(frozen=True, slots=True)
class KeptStep:
    """One step as it is stored: the messages that came with it, its prompt only where that was new.

    `messages` holds what was added since the step before: of the first step, or after a summary (`anew`), the
    whole prompt; then the answer and the results of its calls, each once. `model` is the one that answered,
    `finish_reason` None where it did not come to that. `pending` are calls that somebody else executes.
    """

    position: int
    messages: tuple[Message, ...]
    usage: Usage
    duration_ms: int
    began_at: datetime
    anew: bool = False
    kind: StepKind = "step"
    model: str | None = None
    finish_reason: str | None = None
    pending: tuple[ToolCall, ...] = ()

    @property
    def is_answer(self) -> bool:
        """Whether it ends with what the model said, no call among it and nothing asked of it after."""
        last = self.messages[-1] if self.messages else None
        return self.kind == "step" and last is not None and last.role == "assistant" and not last.tool_calls


@dataclass(frozen=True, slots=True)
class LoopWatch:
    """Who looks on: `observe` gets everything as it happens, must not raise; `keep` makes a step durable."""

    observe: Callable[[LoopEvent], None]
    keep: Callable[[KeptStep], Awaitable[None]]
