"""Where a change waits that was begun on a guess: a commit alone lets it through.

Who guesses holds a `Hold` and gives the tool its `barrier`. `BarrierState` decides and is pure; waiting for
it is a thin layer on top.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from hyperguild.domain.tools import ToolError
from hyperguild.ports import WriteBarrier

ABANDONED = "the call was begun on a guess that was abandoned"


@dataclass(frozen=True, slots=True)
class Granted:
    """The change may be made."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The change may never be made; `reason` is one line."""

    reason: str


Outcome = Granted | Discarded


@dataclass(slots=True)
class BarrierState:
    """Undecided, until the first decision: that one stays. Pure, but for telling who `watches`."""

    outcome: Outcome | None = None
    watches: list[Callable[[], None]] = field(default_factory=list)

    def decide(self, outcome: Outcome) -> bool:
        """Take the outcome, unless there is one already; return whether it was taken."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        watches, self.watches = self.watches, []
        for tell in watches:
            tell()
        return True


class HeldBarrier:
    """The tool's side: it knows what was decided, and cannot decide. Implements `ports.WriteBarrier`.

    `reached` says whether a tool has come here, `crossed` whether one was let through.
    """

    def __init__(self, state: BarrierState, parent: WriteBarrier | None) -> None:
        self._state = state
        self._parent = parent
        self.reached = False
        self.crossed = False

    async def passed(self) -> None:
        """Return once the parent, and then this barrier, has granted; late comers see what was decided.

        Raises `ToolError` with the reason where either was discarded. A task that was cancelled is not let
        through, whichever came first, the cancellation or the grant.
        """
        self.reached = True
        if self._parent is not None:
            await self._parent.passed()
        outcome = self._state.outcome or await self._decided()
        await asyncio.sleep(0)  # here a cancellation comes in that the task has not heard of yet
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        if isinstance(outcome, Discarded):
            raise ToolError(outcome.reason)
        self.crossed = True

    async def _decided(self) -> Outcome:
        state, loop = self._state, asyncio.get_running_loop()
        told = asyncio.Event()

        tell = _in_loop(loop, told.set)
        state.watches.append(tell)
        try:
            while state.outcome is None:
                await told.wait()
        finally:
            if tell in state.watches:
                state.watches.remove(tell)
        return state.outcome


class Hold:
    """Holds a barrier shut until `commit`. Whatever else becomes of it discards.

    As a context manager it discards at the end of the block, `timeout_s` seconds after it was made it
    discards (it then has to be made in a running event loop), and so does the garbage collector once nobody
    can commit any more. The first outcome stays.
    """

    def __init__(self, parent: WriteBarrier | None = None, *, timeout_s: float | None = None) -> None:
        state = BarrierState()
        self._state = state
        self.barrier = HeldBarrier(state, parent)
        self._collected = weakref.finalize(self, state.decide, Discarded(ABANDONED))
        self._collected.atexit = False
        if timeout_s is not None:
            late = Discarded(f"the call was begun on a guess that did not come true in {timeout_s:g} s")
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout_s, state.decide, late)
            state.watches.append(_in_loop(loop, timer.cancel))

    @property
    def outcome(self) -> Outcome | None:
        """What was decided; None until then."""
        return self._state.outcome

    def commit(self) -> bool:
        """Grant; return False where it was decided before."""
        return self._state.decide(Granted())

    def discard(self, reason: str) -> bool:
        """Refuse for good, with a reason of one line; return False where it was decided before."""
        return self._state.decide(Discarded(reason))

    def __enter__(self) -> Self:
        """Hold it for the time of a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard, unless it was decided in the block."""
        self.discard(ABANDONED)


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> Callable[[], None]:
    """Return what does the work in its loop: a garbage collector decides in whatever thread it runs in."""

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits in it any more
            loop.call_soon_threadsafe(work)

    return tell
