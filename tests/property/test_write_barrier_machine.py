"""The write barrier under every order of commit, discard, time-out, clean-up, collection and cancellation."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hyperguild.agent.write_barrier import ABANDONED, BarrierState, Discarded, Granted, HeldBarrier, Hold
from hyperguild.domain.tools import ToolError

LIMIT_S = 5.0


class _Loop(asyncio.SelectorEventLoop):
    """Its time stands still until it is set."""

    now = 0.0

    def time(self) -> float:
        return self.now


@dataclass
class Held:
    """One barrier, and what the model says of it. `hold` is None once nobody holds it."""

    hold: Hold | None
    barrier: HeldBarrier
    parent: Held | None
    due: float | None
    outcome: str | None = None
    """What was decided first: "granted", or the reason."""

    def decide(self, outcome: str) -> bool:
        if self.outcome is not None:
            return False
        self.outcome = outcome
        return True

    @property
    def lineage(self) -> list[Held]:
        """The barriers that a writer passes, in order."""
        return [*(self.parent.lineage if self.parent else ()), self]


@dataclass
class Writer:
    """Waits at a barrier, then writes; `written` is what it found at that moment."""

    held: Held
    task: asyncio.Task[None] = field(init=False)
    cancelled: bool = False
    written: bool = False


class BarrierMachine(RuleBasedStateMachine):
    """Drives real tasks on a loop that takes one turn at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = _Loop()
        self.all: list[Held] = []
        self.writers: list[Writer] = []

    async def _make(self, parent: HeldBarrier | None, timeout_s: float | None) -> Hold:
        return Hold(parent, timeout_s=timeout_s)

    @rule(data=st.data(), child=st.booleans(), timed=st.booleans())
    def hold(self, data: st.DataObject, *, child: bool, timed: bool) -> None:
        parent = data.draw(st.sampled_from(self.all)) if child and self.all else None
        made = self.loop.run_until_complete(
            self._make(parent.barrier if parent else None, LIMIT_S if timed else None)
        )
        due = self.loop.now + LIMIT_S if timed else None
        self.all.append(Held(made, made.barrier, parent, due))

    def _draw(self, data: st.DataObject) -> Held:
        return data.draw(st.sampled_from([one for one in self.all if one.hold is not None]))

    @precondition(lambda self: any(one.hold is not None for one in self.all))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        held = self._draw(data)
        assert held.hold is not None
        assert held.hold.commit() == held.decide("granted")

    @precondition(lambda self: any(one.hold is not None for one in self.all))
    @rule(data=st.data(), reason=st.sampled_from(["missed", "stale"]))
    def discard(self, data: st.DataObject, reason: str) -> None:
        held = self._draw(data)
        assert held.hold is not None
        assert held.hold.discard(reason) == held.decide(reason)

    @precondition(lambda self: any(one.hold is not None for one in self.all))
    @rule(data=st.data())
    def clean_up(self, data: st.DataObject) -> None:
        held = self._draw(data)
        assert held.hold is not None
        with held.hold:
            pass
        held.decide(ABANDONED)

    @precondition(lambda self: any(one.hold is not None for one in self.all))
    @rule(data=st.data(), elsewhere=st.booleans())
    def collect(self, data: st.DataObject, *, elsewhere: bool) -> None:
        held = self._draw(data)
        if elsewhere:
            last = [held.hold]
            held.hold = None
            thread = threading.Thread(target=last.clear)
            thread.start()
            thread.join()
        held.hold = None
        held.decide(ABANDONED)

    @rule()
    def time_out(self) -> None:
        self.loop.now += LIMIT_S
        self.turns(2)
        for held in self.all:
            if held.due is not None and held.due <= self.loop.now:
                held.decide("late")

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        writer = Writer(data.draw(st.sampled_from(self.all)))
        writer.task = self.loop.create_task(self._write(writer))
        self.writers.append(writer)

    async def _write(self, writer: Writer) -> None:
        await writer.held.barrier.passed()
        assert all(one.outcome == "granted" for one in writer.held.lineage), "written without a commit"
        assert not writer.cancelled, "written though it was cancelled"
        writer.written = True

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        if not writer.task.done():
            writer.task.cancel()
            writer.cancelled = True

    @rule(count=st.integers(1, 3))
    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.run_until_complete(asyncio.sleep(0))

    @invariant()
    def the_first_outcome_stands(self) -> None:
        for held in self.all:
            if held.hold is None:
                continue
            match held.hold.outcome:
                case None:
                    assert held.outcome is None
                case Granted():
                    assert held.outcome == "granted"
                case Discarded(reason=reason):
                    assert held.outcome == reason or (
                        held.outcome == "late" and "did not come true" in reason
                    )

    def teardown(self) -> None:
        self.turns(20)
        for writer in self.writers:
            outcomes = [one.outcome for one in writer.held.lineage]
            refused = next((one for one in outcomes if one != "granted"), None)
            if writer.cancelled:
                assert writer.task.cancelled()
            elif None in outcomes and (refused is None or outcomes.index(None) <= outcomes.index(refused)):
                assert not writer.task.done()
            elif refused is not None:
                error = writer.task.exception()
                assert isinstance(error, ToolError)
                assert refused in {str(error), "late"}
            else:
                assert writer.task.exception() is None
                assert writer.written
        left = [writer.task for writer in self.writers if not writer.task.done()]
        for task in left:
            task.cancel()
        self.turns(3)
        assert all(task.cancelled() for task in left)
        self.loop.close()


TestBarrierMachine = BarrierMachine.TestCase
TestBarrierMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


async def _passes(hold_or_barrier: HeldBarrier) -> str:
    task = asyncio.ensure_future(hold_or_barrier.passed())
    done, _ = await asyncio.wait([task], timeout=0.05)
    if not done:
        task.cancel()
        return "waits"
    error = task.exception()
    return str(error) if error is not None else "passed"


async def test_i1_only_a_commit_grants() -> None:
    hold = Hold()
    assert await _passes(hold.barrier) == "waits"
    assert hold.commit()
    assert await _passes(hold.barrier) == "passed"
    assert not hold.discard("too late")
    assert await _passes(hold.barrier) == "passed"


async def test_i1_abandonment_clean_up_time_out_and_collection_discard() -> None:
    with Hold() as cleaned:
        pass
    assert await _passes(cleaned.barrier) == ABANDONED
    assert not cleaned.commit()
    with pytest.raises(RuntimeError), Hold() as broken:
        raise RuntimeError
    assert await _passes(broken.barrier) == ABANDONED
    timed = Hold(timeout_s=0.01)
    with pytest.raises(ToolError, match=r"did not come true in 0\.01 s"):
        await timed.barrier.passed()
    assert not timed.commit()
    dropped = Hold()
    barrier = dropped.barrier
    waiting = asyncio.ensure_future(barrier.passed())
    await asyncio.sleep(0)
    del dropped
    gc.collect()
    with pytest.raises(ToolError, match="abandoned"):
        await waiting


@pytest.mark.parametrize("first", ["commit", "cancel"])
async def test_i1_a_cancellation_beats_a_grant(first: str) -> None:
    hold = Hold()
    written: list[str] = []

    async def write() -> None:
        await hold.barrier.passed()
        written.append("x")

    task = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    for act in (hold.commit, task.cancel) if first == "commit" else (task.cancel, hold.commit):
        act()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == []


async def test_i1_one_that_was_cancelled_before_it_came_is_not_let_through() -> None:
    hold = Hold()
    hold.commit()
    written: list[str] = []

    async def write() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await hold.barrier.passed()
            written.append("x")

    task = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == []


async def test_i1_parent_and_child_must_both_grant() -> None:
    parent = Hold()
    child = Hold(parent.barrier)
    child.commit()
    assert await _passes(child.barrier) == "waits"
    parent.discard("the tier above was accepted")
    assert await _passes(child.barrier) == "the tier above was accepted"
    other = Hold()
    granted = Hold(other.barrier)
    other.commit()
    assert await _passes(granted.barrier) == "waits"
    granted.commit()
    assert await _passes(granted.barrier) == "passed"


def test_i1_the_first_outcome_wins() -> None:
    told: list[str] = []
    state = BarrierState()
    state.watches.append(lambda: told.append("told"))
    assert state.decide(Discarded("no"))
    assert not state.decide(Granted())
    assert state.outcome == Discarded("no")
    assert told == ["told"]
