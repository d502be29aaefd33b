"""What a loop is asked to do, what it works with, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hyperguild.agent.guesses import Predictor
from hyperguild.agent.hooks import NO_HOOKS, Hooks
from hyperguild.agent.resumption import Resumption
from hyperguild.agent.toolbox import Toolbox
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import FinishReason, Message
from hyperguild.domain.records import Cause, WarmState
from hyperguild.domain.tools import ToolCall, ToolChoice
from hyperguild.inference.call import ModelCaller
from hyperguild.ports import Clock, IdSource
from hyperguild.resilience.budget import calls_paid_for


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """What an attempt is to do, and within which bounds. `prompt` ends with the task.

    `limits` are those of each model call; `time_left_s` and `cost_left_usd` those of all of them together.
    `tool_choice` binds the first step alone, so that the attempt can end.
    `resume` is where the attempt left off, if it is continued; its transcript then takes the prompt's place.
    """

    model: Model
    prompt: tuple[Message, ...]
    policy: AgentPolicy
    limits: TimeLimits
    retry: RetryPolicy
    warm_state: WarmState | None
    time_left_s: float | None = None
    cost_left_usd: float | None = None
    resume: Resumption | None = None
    tool_choice: ToolChoice = "auto"


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How the loop ended: with an answer, or with a `cause` to escalate and `feedback` for the next tier.

    Or it pauses: `pending` are calls that the caller of the run executes.
    """

    text: str
    finish_reason: FinishReason
    cause: Cause | None = None
    feedback: str = ""
    pending: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class LoopTools:
    """What a loop works with. `models` finds the models that hooks name; it raises `ConfigError`.

    `predictor` guesses calls, which are then started early; None: none is.
    """

    caller: ModelCaller
    toolbox: Toolbox
    clock: Clock
    ids: IdSource
    hooks: Hooks = NO_HOOKS
    models: Callable[[str], Model] | None = None
    predictor: Predictor | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a run's time and money; None is no limit."""

    seconds: float | None
    cost_usd: float | None


class Allowance:
    """The time and the money of one attempt. Time runs from the moment this is made.

    `spent_usd` gives what was spent so far, None where that is not known.
    """

    def __init__(self, request: LoopRequest, clock: Clock, spent_usd: Callable[[], float | None]) -> None:
        self._request = request
        self._clock = clock
        self._spent_usd = spent_usd
        self._began = clock.monotonic()

    def left_s(self) -> float | None:
        """Return the seconds that are left, None for any number; below zero once they have passed."""
        left_s = self._request.time_left_s
        return None if left_s is None else left_s - (self._clock.monotonic() - self._began)

    def left_usd(self) -> float | None:
        """Return what may still be spent, None for any sum; nothing, where it is not known what was spent."""
        limit = self._request.cost_left_usd
        if limit is None:
            return None
        spent = self._spent_usd()
        return 0.0 if spent is None else max(limit - spent, 0.0)

    def retries(self, prompt_tokens: int, most: int) -> int:
        """Return how often, `most` times at the most, the next call may be tried again for what is left.

        A try that failed may have cost as much as one that did not.
        """
        worst_usd = self._request.model.worst_cost_usd(prompt_tokens)
        return max(calls_paid_for(self.left_usd(), worst_usd, most + 1) - 1, 0)

    def limits(self) -> TimeLimits:
        """Return the limits of the next call, within the time that is left."""
        limits, left_s = self._request.limits, self.left_s()
        return limits if left_s is None else replace(limits, total_s=min(limits.total_s, left_s))
