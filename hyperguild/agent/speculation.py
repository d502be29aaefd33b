"""Starts tool calls that a model is likely to make while it still thinks.

A guess that comes true is committed and its result used; all others are discarded with their step. Nothing
that a guess does can change a file, ask anybody, fail the attempt or be seen by the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

from hyperguild.agent.guesses import Guess, Predictor, Seen, matches, same
from hyperguild.agent.write_barrier import Hold
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.ports import Clock, IdSource, WriteBarrier

AT_ONCE = 4
"""So many guesses are started in one step: they share disk, servers and processor with the model."""

MOST_MISSES = 3
"""A guess that has been wrong so often in an attempt is not made again in it."""

Settled = Literal["hit", "miss", "stale", "failed"]
"""`miss`: nobody asked for it. `stale`: something was written since. `failed`: the call is made anew."""


@dataclass(frozen=True, slots=True)
class SpeculationBegan:
    """A guess is being tried."""

    id: str
    guess: Guess


@dataclass(frozen=True, slots=True)
class SpeculationEnded:
    """What became of it; `ahead_ms` is how long a hit had been running when it was asked for."""

    id: str
    guess: Guess
    outcome: Settled
    ahead_ms: int = 0


@dataclass(slots=True)
class SpeculationCount:
    """What came of the guesses of an attempt; `saved_ms` is what its steps would have taken longer."""

    hits: int = 0
    misses: int = 0
    saved_ms: int = 0


@dataclass(frozen=True, slots=True)
class EarlyRules:
    """What holds for calls that are started early.

    `refusal` says why one may not be; it asks nobody. `stamp` tells what state of the world a call will read:
    a result counts only while it stays the same; None where that cannot be told, and nothing is started.
    """

    refusal: Callable[[ToolCall, ToolSpec], Awaitable[str | None]]
    stamp: Callable[[ToolCall], Awaitable[Hashable | None]]


class Bench(Protocol):
    """Where calls are carried out."""

    async def may_begin(self, call: ToolCall, offered: Collection[str]) -> bool:
        """Tell whether a call may be started early: offered, fit, read-only or barred, permitted."""
        ...

    async def stamp(self, call: ToolCall) -> Hashable | None:
        """See `EarlyRules`."""
        ...

    async def carry_out(self, call: ToolCall, barrier: WriteBarrier) -> ToolResult:
        """Execute a call, whose tool changes nothing before the barrier. Failures are results, too."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a guess that came true, and the seconds that it took from its own start."""

    result: ToolResult
    took_s: float


@dataclass(eq=False, slots=True)
class _Early:
    """One guess that is being tried. `began` is None until it has been permitted."""

    guess: Guess
    call: ToolCall
    hold: Hold = field(default_factory=Hold)
    stamp: Hashable | None = None
    began: float | None = None
    ended: float | None = None
    result: ToolResult | None = None


class EarlyCalls:
    """The early calls of one attempt: `begin` and `settle` each step, `close` at the end.

    `steered` names tools whose calls a hook wants to see first: these are never started early.
    """

    def __init__(
        self,
        predictor: Predictor,
        bench: Bench,
        clock: Clock,
        ids: IdSource,
        observe: Callable[[SpeculationBegan | SpeculationEnded], None],
        steered: Callable[[str], bool],
    ) -> None:
        self._predictor = predictor
        self._bench = bench
        self._clock = clock
        self._ids = ids
        self._observe = observe
        self._steered = steered
        self._open: list[_Early] = []
        self._tasks: dict[_Early, asyncio.Task[None]] = {}
        self._missed: list[Guess] = []
        self.count = SpeculationCount()

    def begin(self, seen: Seen, offered: Collection[str]) -> None:
        """Start what is likely to be called in the step that begins."""
        for guess in self._likely(seen, offered):
            early = _Early(guess, ToolCall(self._ids.new_id(), guess.tool, guess.arguments))
            self._open.append(early)
            task = asyncio.create_task(self._try(early, offered))
            self._tasks[early] = task
            task.add_done_callback(partial(self._over, early))

    async def take(self, call: ToolCall) -> Taken | None:
        """Return the result of the guess that this call is, waiting for its end; None: it is to be executed.

        Serves each guess once. Cancelling stops it; what has not passed its barrier by then changes nothing.
        """
        early = next((one for one in self._open if matches(one.guess, call)), None)
        if early is None:
            return None
        self._open.remove(early)
        if early.began is None:  # it has not been permitted yet
            self._drop(early)
            return None
        try:
            return await self._taken(early, call)
        except asyncio.CancelledError:
            self._give_up(early, "miss")
            raise

    def outdate(self) -> None:
        """Discard what is open: something is about to be changed, after all of it began."""
        opened, self._open = self._open, []
        for early in opened:
            self._give_up(early, "stale")

    def save(self, seconds: float) -> None:
        """Count what calls that were started early have saved of the time of their step."""
        self.count.saved_ms += max(round(seconds * 1000), 0)

    def settle(self) -> None:
        """Discard what nobody asked for: the step is over. What is still running is stopped, not awaited."""
        opened, self._open = self._open, []
        for early in opened:
            if early.began is not None:
                self._missed.append(early.guess)
            self._give_up(early, "miss")

    async def close(self) -> None:
        """Stop everything and wait for its end."""
        self.settle()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _likely(self, seen: Seen, offered: Collection[str]) -> Sequence[Guess]:
        likely: list[Guess] = []
        for guess in self._predictor.guesses(seen):
            missed = sum(_alike(guess, other) for other in self._missed)
            fits = guess.tool in offered and not self._steered(guess.tool) and missed < MOST_MISSES
            if fits and not any(_alike(guess, other) for other in likely):
                likely.append(guess)
        return likely[: max(AT_ONCE - len(self._tasks), 0)]

    async def _taken(self, early: _Early, call: ToolCall) -> Taken | None:
        """Commit a guess and wait for its end; None where it cannot be used."""
        asked, task, barrier = self._clock.monotonic(), self._tasks.get(early), early.hold.barrier
        if await self._is_stale(early):
            self._give_up(early, "stale")
            return None
        early.hold.commit()
        if task is not None:
            await asyncio.wait([task])
        result = early.result
        if not barrier.crossed and (result is None or result.is_error):
            self._give_up(early, "failed")
            return None
        began, ended = early.began or 0.0, early.ended or self._clock.monotonic()
        if result is None:  # it may have changed something: it is not made again
            result = ToolResult(call.id, call.name, f"{call.name} was interrupted", is_error=True)
        self.count.hits += 1
        ahead_ms = round((min(asked, ended) - began) * 1000)
        self._observe(SpeculationEnded(early.call.id, early.guess, "hit", ahead_ms))
        return Taken(replace(result, call_id=call.id), ended - began)

    async def _try(self, early: _Early, offered: Collection[str]) -> None:
        try:
            if not await self._bench.may_begin(early.call, offered):
                return
            early.stamp = await self._bench.stamp(early.call)
            if early.stamp is None:
                return
            early.began = self._clock.monotonic()
            self._observe(SpeculationBegan(early.call.id, early.guess))
            early.result = await self._bench.carry_out(early.call, early.hold.barrier)
            early.ended = self._clock.monotonic()
        except Exception:  # noqa: BLE001  # whatever goes wrong with a guess, the call itself is made anew
            early.result = None

    def _over(self, early: _Early, task: asyncio.Task[None]) -> None:
        del task
        self._tasks.pop(early, None)

    async def _is_stale(self, early: _Early) -> bool:
        try:
            return await self._bench.stamp(early.call) != early.stamp
        except Exception:  # noqa: BLE001  # as above: who cannot tell whether it is stale does not use it
            return True

    def _give_up(self, early: _Early, outcome: Settled) -> None:
        self._drop(early)
        if early.began is not None:
            self.count.misses += 1
            self._observe(SpeculationEnded(early.call.id, early.guess, outcome))

    def _drop(self, early: _Early) -> None:
        early.hold.discard(f"{early.guess.tool} was begun on a guess that did not come true")
        task = self._tasks.get(early)
        if task is not None:
            task.cancel()


def _alike(one: Guess, other: Guess) -> bool:
    return one.tool == other.tool and same(one.arguments, other.arguments)
