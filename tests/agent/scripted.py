"""An agent loop over a model that is written down part by part, in time that passes only when all wait."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from agent.looping import PROMPT, FunctionTool, allow, whole

from hyperguild.agent.compaction import INSTRUCTIONS
from hyperguild.agent.guesses import Predictor
from hyperguild.agent.hooks import NO_HOOKS, Hooks
from hyperguild.agent.loop import AgentLoop
from hyperguild.agent.terms import LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.toolbox import CallRules, Toolbox
from hyperguild.agent.watch import KeptStep, LoopEvent, LoopWatch
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Endpoint, Model, RetryPolicy, TimeLimits
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.messages import Finish, Message, ModelRequest, Sent, StreamPart, TextDelta, UsageReport
from hyperguild.domain.records import WarmState
from hyperguild.domain.tools import ToolSpec
from hyperguild.domain.usage import Usage
from hyperguild.errors import ModelError
from hyperguild.inference.call import ModelCaller

TOOL_TIMEOUT_S = 10.0

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting it moves the time on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and for nothing"
        self.now += timeout
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class LoopClock:
    """The time of the event loop, which begins at 0."""

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:  # it does not run yet
            return 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def in_jumping_time(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end; fails where everything waits for nothing."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(work())


@dataclass(frozen=True)
class Pause:
    """The model says nothing for so long."""

    seconds: float


Part = StreamPart | Pause | ModelError
Turn = Sequence[Part]
"""One stream; it breaks off where neither `Finish` nor an error is its last part."""


@dataclass
class ScriptedModel:
    """A `ModelClient`: streams its turns in order, the last one for ever; summaries have their own."""

    turns: Sequence[Turn]
    summaries: Sequence[Turn] = ()
    inspect: Callable[[ModelRequest], None] = lambda _: None
    requests: list[ModelRequest] = field(default_factory=list)
    asked_for_summary: int = 0
    reported: list[Usage] = field(default_factory=list)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        if request.messages[0].text == INSTRUCTIONS:
            turns, place = self.summaries or (summary("So far: work."),), self.asked_for_summary
            self.asked_for_summary += 1
        else:
            turns, place = self.turns, len(self.requests)
            self.inspect(request)
            self.requests.append(request)
        self.reported.append(Usage())
        own = len(self.reported) - 1
        yield Sent()
        for part in turns[min(place, len(turns) - 1)]:
            await asyncio.sleep(part.seconds if isinstance(part, Pause) else 0)
            if isinstance(part, ModelError):
                raise part
            if isinstance(part, UsageReport):
                self.reported[own] = part.usage
            if not isinstance(part, Pause):
                yield part

    async def aclose(self) -> None:
        """Nothing is open."""


class NoProbe:
    """A `WarmProbe` of servers that do not tell."""

    async def state(self, model: Model) -> WarmState:
        del model
        return "unknown"

    async def wait_ready(self, model: Model) -> None:
        del model


def summary(text: str) -> Turn:
    return (TextDelta(text), UsageReport(Usage(input_tokens=50, output_tokens=5)), Finish("stop"))


@dataclass
class Scripted:
    """One loop over a scripted model, and what was kept and seen of it."""

    model: ScriptedModel
    loop: AgentLoop
    kept: list[KeptStep] = field(default_factory=list)
    events: list[LoopEvent] = field(default_factory=list)

    async def run(self) -> LoopEnd:
        return await self.loop.run()

    def seen(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def transcript(self) -> list[Message]:
        return replayed(self.kept)

    @property
    def calls_made(self) -> int:
        return len(self.model.requests) + self.model.asked_for_summary


def replayed(kept: Sequence[KeptStep]) -> list[Message]:
    """What kept steps add up to."""
    messages: list[Message] = []
    for step in kept:
        if step.kind == "aside":
            continue
        messages = [*([] if step.anew else messages), *step.messages]
    return messages


async def no_wait(step: KeptStep) -> None:
    del step


def scripted(
    turns: Sequence[Turn],
    tools: Sequence[FunctionTool] = (),
    *,
    policy: AgentPolicy | None = None,
    summaries: Sequence[Turn] = (),
    keeping: Callable[[KeptStep], Coroutine[Any, Any, None]] = no_wait,
    budget: dict[str, Any] | None = None,
    hooks: Hooks = NO_HOOKS,
    external: Sequence[ToolSpec] = (),
    declares_tools: bool = True,
    predictor: Predictor | None = None,
    rules: CallRules | None = None,
    ahead: bool = False,
    **model: Any,
) -> Scripted:
    """Return a loop that is asked for nothing yet. `keeping` is awaited once a step is durable."""
    client, clock = ScriptedModel(turns, summaries), LoopClock()
    request = LoopRequest(
        model=Model(
            **{
                "name": "m",
                "endpoint": Endpoint("e", "openai", "http://localhost"),
                "upstream": "m",
                "label": "local",
                "tools": declares_tools,
                **model,
            }
        ),
        prompt=PROMPT,
        policy=policy or AgentPolicy(two_stage="never", speculate_results=ahead),
        limits=TimeLimits(),
        retry=RetryPolicy(),
        warm_state=None,
        **(budget or {}),
    )
    kept: list[KeptStep] = []
    events: list[LoopEvent] = []

    async def keep(step: KeptStep) -> None:
        kept.append(step)
        await keeping(step)

    # The same in each loop: two of them are compared, nonces and all.
    ids = Uuid7Source(now_ms=lambda: 0, random_bytes=random.Random(0).randbytes)  # noqa: S311
    caller = ModelCaller({"e": client}, NoProbe(), clock, lambda: 0.5)
    toolbox = Toolbox(tools, rules or CallRules(allow, whole, TOOL_TIMEOUT_S), clock, external)
    loop = AgentLoop(
        request,
        LoopTools(caller, toolbox, clock, ids, hooks, predictor=predictor),
        LoopWatch(events.append, keep),
    )
    return Scripted(client, loop, kept, events)
