"""Asks the model for its next step on results that tools have offered, before the results are certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hyperguild.domain.chain import RetryPolicy, TimeLimits
from hyperguild.domain.messages import Completion, Message, ModelRequest, UsageReport
from hyperguild.domain.records import ModelUse
from hyperguild.domain.text import encodable
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent

MOST_SHARE = 0.25
"""A step ahead may cost at most this share of the money that is left."""

NextRequest = Callable[[Sequence[ToolResult]], ModelRequest]
"""Returns what the model would be asked if these were the results of the step, in call order."""


@dataclass(frozen=True, slots=True)
class AheadBegan:
    """A step is being asked for on offered results."""

    model: str


@dataclass(frozen=True, slots=True)
class AheadEnded:
    """What became of it; `wasted` is what one that is not used has used, as far as that is known."""

    model: str
    outcome: Literal["hit", "miss", "failed"]
    ahead_ms: int = 0
    wasted: Usage = field(default_factory=Usage)
    wasted_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class AheadTerms:
    """The bounds, as they are at the moment; `cost_left_usd` None is no limit, and `may_ask` another one."""

    retry: RetryPolicy
    limits: Callable[[], TimeLimits]
    cost_left_usd: Callable[[], float | None]
    may_ask: Callable[[], bool]
    now: Callable[[], float]


@dataclass(slots=True)
class _Ahead:
    """A step that is asked for; `events` are those of its call."""

    request: ModelRequest
    began: float
    events: list[CallEvent] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    task: asyncio.Task[Completion] = field(init=False)

    def take(self, event: CallEvent) -> None:
        if isinstance(event, UsageReport):
            self.usage = event.usage
        self.events.append(event)


class StepAhead:
    """The steps that one attempt takes ahead, one at a time.

    `count` takes what those use that are not used themselves, `observe` is told of each.
    """

    def __init__(
        self,
        caller: ModelCaller,
        terms: AheadTerms,
        count: Callable[[ModelUse], None],
        observe: Callable[[AheadBegan | AheadEnded], None],
    ) -> None:
        self._caller = caller
        self._terms = terms
        self._count = count
        self._observe = observe
        self._calls: tuple[ToolCall, ...] = ()
        self._next: NextRequest | None = None
        self._results: dict[str, ToolResult] = {}
        self._open: set[str] = set()
        self._ahead: _Ahead | None = None
        self._leaving: set[asyncio.Task[Completion]] = set()

    def begin(self, calls: Sequence[ToolCall], next_request: NextRequest) -> None:
        """Wait for what the calls of a step offer."""
        self._calls, self._next = tuple(calls), next_request
        self._results, self._open = {}, {call.id for call in calls}

    def offer(self, call_id: str, text: str) -> None:
        """Take a result that is likely. Only the first of a call that has no result yet counts."""
        call = next((one for one in self._calls if one.id == call_id), None)
        if call is not None and call_id in self._open and call_id not in self._results:
            self._results[call_id] = ToolResult(call_id, call.name, encodable(text))
            self._try_to_start()

    def came(self, result: ToolResult) -> None:
        """Take a result that is certain."""
        if result.call_id in self._open:
            self._open.discard(result.call_id)
            self._results[result.call_id] = result
            self._try_to_start()

    async def take(self, request: ModelRequest, observe: Callable[[CallEvent], None]) -> Completion | None:
        """Return the answer to a request that was made ahead, once, to its last word; None: make it now.

        `observe` is told all that happened in the call; what it raises passes through. A request that is
        another one is dropped, and so is one that failed. Cancelling stops it.
        """
        ahead, self._ahead, self._next = self._ahead, None, None
        if ahead is None:
            return None
        if _certain(ahead.request) != _certain(request):
            self._drop(ahead, "miss")
            return None
        asked = self._terms.now()
        try:
            await asyncio.wait([ahead.task])
        except asyncio.CancelledError:
            self._drop(ahead, "miss")
            raise
        if ahead.task.cancelled() or ahead.task.exception() is not None:
            self._drop(ahead, "failed")
            return None
        ahead_ms = round((asked - ahead.began) * 1000)
        self._observe(AheadEnded(request.model.name, "hit", ahead_ms))
        for event in ahead.events:
            observe(event)
        return ahead.task.result()

    async def close(self) -> None:
        """Drop what was asked for and not used, and wait for its end."""
        ahead, self._ahead, self._next = self._ahead, None, None
        if ahead is not None:
            self._drop(ahead, "miss")
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    def _try_to_start(self) -> None:
        try:
            self._start()
        except Exception:  # noqa: BLE001  # it would be raised within a tool, which has nothing to do with it
            self._next = None

    def _start(self) -> None:
        """Ask, if every call has a result, one of them is not certain, and no error is among them."""
        whole = len(self._results) == len(self._calls) and bool(self._open)
        if self._next is None or self._ahead is not None or not whole or not self._terms.may_ask():
            return
        results = [self._results[call.id] for call in self._calls]
        if any(result.is_error for result in results):
            return
        request, self._next = self._next(results), None
        left = self._terms.cost_left_usd()
        worst = request.model.worst_cost_usd(sum(message.estimated_tokens() for message in request.messages))
        if left is not None and (worst is None or worst > left * MOST_SHARE):
            return
        self._ahead = ahead = _Ahead(request, self._terms.now())
        ahead.task = asyncio.create_task(self._ask(ahead))
        self._leaving.add(ahead.task)
        ahead.task.add_done_callback(self._over)
        self._observe(AheadBegan(request.model.name))

    async def _ask(self, ahead: _Ahead) -> Completion:
        return await self._caller.complete(
            ahead.request,
            self._terms.limits(),
            retry=replace(self._terms.retry, retries=0),
            warm_state=await self._caller.warm_state(ahead.request.model),
            observe=ahead.take,
        )

    def _over(self, task: asyncio.Task[Completion]) -> None:
        self._leaving.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, lest the loop complains: a guess's fault is nobody's

    def _drop(self, ahead: _Ahead, outcome: Literal["miss", "failed"]) -> None:
        ahead.task.cancel()
        model = ahead.request.model
        cost_usd = model.cost_usd(ahead.usage)
        if ahead.usage != Usage():
            self._count(
                ModelUse(model=model.name, purpose="speculation", usage=ahead.usage, cost_usd=cost_usd)
            )
        self._observe(AheadEnded(model.name, outcome, 0, ahead.usage, cost_usd))


def _certain(request: ModelRequest) -> ModelRequest:
    """Return a request without what the model is not told: when its results came, and of what call."""
    return replace(request, messages=tuple(_plain(message) for message in request.messages))


def _plain(message: Message) -> Message:
    if message.result is None:
        return message
    result = replace(message.result, started_at=None, ended_at=None, ran_with=None)
    return replace(message, result=result)
