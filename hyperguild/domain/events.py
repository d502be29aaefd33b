"""The one event union: the live view, `--events`, the log and later the HTTP stream all read it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from hyperguild.domain.chain import TierLabel
from hyperguild.domain.records import Attempt, Cause, CheckResult, Record, RunResult, VerdictKind, WarmState
from hyperguild.domain.usage import Usage

SpeculationKind = Literal["tool", "result", "hedge", "tier"]
"""What is begun early."""

SpeculationOutcome = Literal["hit", "miss", "stale", "failed", "cancelled"]


class _Event(Record):
    v: Literal[1] = 1
    seq: int
    time: datetime
    session_id: str
    run_id: str
    attempt_id: str | None = None


class RunStarted(_Event):
    """A run begins. `parent_run_id` is the run that delegated it; its events are among those of that run."""

    type: Literal["run.started"] = "run.started"
    skill: str
    chain: str
    parent_run_id: str | None = None


class RoutedTier(Record):
    """One tier of the chain about to be walked."""

    position: int
    model: str
    tier: TierLabel
    endpoint: str


class Route(_Event):
    """The tiers that will be tried, in order."""

    type: Literal["route"] = "route"
    tiers: tuple[RoutedTier, ...]


class AttemptStarted(_Event):
    """A tier's turn has come: it will be probed if need be, then tried or skipped."""

    type: Literal["attempt.started"] = "attempt.started"
    position: int
    model: str
    tier: TierLabel
    endpoint: str


class Probed(_Event):
    """A warm state was asked for."""

    type: Literal["probe"] = "probe"
    position: int
    model: str
    warm_state: WarmState


class LoadWaiting(_Event):
    """A model is being loaded. `role` says for which call; `loaded` is true on the last such event."""

    type: Literal["load.waiting"] = "load.waiting"
    model: str
    role: Literal["worker", "judge"] = "worker"
    waited_ms: int
    loaded: bool = False


class StepStarted(_Event):
    """A model call begins."""

    type: Literal["step.started"] = "step.started"
    position: int
    model: str


class StepFinished(_Event):
    """A model call ended with an answer."""

    type: Literal["step.finished"] = "step.finished"
    position: int
    model: str
    finish_reason: str
    usage: Usage
    duration_ms: int


class StepReset(_Event):
    """What this step has streamed so far is void: it is retried from the start."""

    type: Literal["step.reset"] = "step.reset"
    reason: str


class AnswerDelta(_Event):
    """A piece of an answer that nobody has judged yet."""

    type: Literal["text.delta"] = "text.delta"
    text: str


class ThoughtDelta(_Event):
    """A piece of a model's reasoning."""

    type: Literal["reasoning.delta"] = "reasoning.delta"
    text: str


class ToolCalled(_Event):
    """A tool call is about to be executed, or refused. `arguments` is null where they are no JSON object."""

    type: Literal["tool.call"] = "tool.call"
    call_id: str
    name: str
    arguments: dict[str, Any] | None


class ToolReturned(_Event):
    """A tool call has its result; `text` is what the model is told, cut; no times where it was refused."""

    type: Literal["tool.result"] = "tool.result"
    call_id: str
    name: str
    is_error: bool
    text: str
    chars: int
    started_at: datetime | None = None
    ended_at: datetime | None = None


class MessageInjected(_Event):
    """A message that no model wrote was added to the transcript: by the loop itself, or by a hook."""

    type: Literal["message.injected"] = "message.injected"
    origin: Literal["loop", "hook"]
    role: str
    text: str


class TranscriptReplaced(_Event):
    """A hook put so many messages in the place of an attempt's whole transcript."""

    type: Literal["transcript.replaced"] = "transcript.replaced"
    origin: Literal["loop", "hook"]
    messages: int


class ContextCompacted(_Event):
    """Older messages of an attempt were replaced by a summary; `failure` says why they were not."""

    type: Literal["context.compacted"] = "context.compacted"
    messages: int
    failure: str = ""


class CheckFinished(_Event):
    """A deterministic check ended."""

    type: Literal["check.finished"] = "check.finished"
    check: CheckResult


class VerdictGiven(_Event):
    """An attempt has its verdict."""

    type: Literal["verdict"] = "verdict"
    verdict: VerdictKind
    cause: Cause | None = None
    score: float | None = None
    feedback: str = ""


class AttemptFinished(_Event):
    """An attempt is over and durable in the session log."""

    type: Literal["attempt.finished"] = "attempt.finished"
    attempt: Attempt


class SpeculationStarted(_Event):
    """Work begins before it is known whether it is needed; `what` names the tool call or the model.

    `tool`: a call that the model may make. `result`: a step, on results that tools have offered. `hedge`: the
    next tier, while a cold model loads. `tier`: the next one, while the verifier judges.
    """

    type: Literal["speculation.started"] = "speculation.started"
    kind: SpeculationKind
    what: str


class SpeculationSettled(_Event):
    """It is known whether that work was needed.

    `hit`: its result is used. `miss`: it is not. `stale`: something was written since it began. `failed`: the
    work is done anew. `cancelled`: the run was, before that was known. Of a miss `wasted` tokens were used
    and `wasted_usd` spent (null: not known). `saved_ms` is how much sooner the work was begun than it would
    have been; null where that cannot be measured.
    """

    type: Literal["speculation.settled"] = "speculation.settled"
    kind: SpeculationKind
    what: str
    outcome: SpeculationOutcome
    saved_ms: int | None = None
    wasted: Usage = Usage()
    wasted_usd: float | None = 0.0


class Warned(_Event):
    """Something a person should know."""

    type: Literal["warning"] = "warning"
    message: str


class RunFinished(_Event):
    """The run is over; carries the result object."""

    type: Literal["run.finished"] = "run.finished"
    result: RunResult


Event = Annotated[
    RunStarted
    | Route
    | AttemptStarted
    | Probed
    | LoadWaiting
    | StepStarted
    | StepFinished
    | StepReset
    | AnswerDelta
    | ThoughtDelta
    | ToolCalled
    | ToolReturned
    | MessageInjected
    | TranscriptReplaced
    | ContextCompacted
    | CheckFinished
    | VerdictGiven
    | AttemptFinished
    | SpeculationStarted
    | SpeculationSettled
    | Warned
    | RunFinished,
    Field(discriminator="type"),
]


def event_adapter() -> TypeAdapter[Event]:
    """Return the parser of events: `event_adapter().validate_json(line)`."""
    return TypeAdapter(Event)
