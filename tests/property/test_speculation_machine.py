"""Early calls under every order of beginnings, requests, writes, step ends, failures and cancellations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hyperguild.agent.guesses import Guess, Seen
from hyperguild.agent.speculation import AT_ONCE, EarlyCalls, SpeculationBegan, SpeculationEnded, Taken
from hyperguild.domain.tools import ToolCall, ToolError, ToolResult
from hyperguild.ports import WriteBarrier

FILES = ("a", "b", "c")
TOOLS = ("look", "put")
TURNS = st.sampled_from([0, 1, 2, 3, 6, 6])


@dataclass(eq=False)
class Running:
    """An early call that waits to be told how it goes on."""

    call: ToolCall
    go: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False

    @property
    def path(self) -> str:
        return str((self.call.arguments or {})["path"])


@dataclass(eq=False)
class Request:
    """A call of the model, and what came of it. `versions` are those that it may return."""

    call: ToolCall
    task: asyncio.Task[Taken | None] = field(init=False)
    at_version: int = 0
    cancelled: bool = False


class Desk:
    """Carries calls out when it is told to: files are numbers that only grow."""

    def __init__(self) -> None:
        self.versions = dict.fromkeys(FILES, 0)
        self.running: list[Running] = []
        self.written: list[str] = []
        """The ids of early calls that wrote, as they were begun."""
        self.permitted = True
        self.raises = False

    async def may_begin(self, call: ToolCall, offered: Collection[str]) -> bool:
        await asyncio.sleep(0)
        return self.permitted and call.name in offered

    async def stamp(self, call: ToolCall) -> Hashable | None:
        await asyncio.sleep(0)
        if self.raises:
            raise OSError("the disk is gone")
        return self.versions[str((call.arguments or {})["path"])]

    async def carry_out(self, call: ToolCall, barrier: WriteBarrier) -> ToolResult:
        running = Running(call)
        version = self.versions[running.path]
        self.running.append(running)
        try:
            await running.go.wait()
            if running.fails:
                return self._result(call, "it failed", is_error=True)
            if call.name == "put":
                try:
                    await barrier.passed()
                except ToolError as error:
                    return self._result(call, str(error), is_error=True)
                self.versions[running.path] += 1
                self.written.append(call.id)
                return self._result(call, "written")
            return self._result(call, f"{running.path}{version}")
        finally:
            self.running.remove(running)

    @staticmethod
    def _result(call: ToolCall, text: str, *, is_error: bool = False) -> ToolResult:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        return ToolResult(call.id, call.name, text, is_error, now, now)


class SpeculationMachine(RuleBasedStateMachine):
    """Plays loop, model and disk around real early calls, on a loop that takes one turn at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.desk = Desk()
        self.events: list[SpeculationBegan | SpeculationEnded] = []
        self.next: Sequence[Guess] = ()
        self.requests: list[Request] = []
        self.drawn = 0
        self.in_step = False
        self.early = EarlyCalls(self, self.desk, self, self, self.events.append, lambda _name: False)

    # What the early calls work with.

    def guesses(self, seen: Seen) -> Sequence[Guess]:
        del seen
        return self.next

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def new_id(self) -> str:
        self.drawn += 1
        return f"id{self.drawn}"

    def nonce(self) -> str:
        return self.new_id()

    # What happens.

    @precondition(lambda self: not self.in_step)
    @rule(
        guesses=st.lists(st.tuples(st.sampled_from(TOOLS), st.sampled_from(FILES)), min_size=1, max_size=6),
        permitted=st.sampled_from([True, True, True, False]),
        turns=TURNS,
    )
    def begin(self, guesses: list[tuple[str, str]], *, permitted: bool, turns: int) -> None:
        self.next = [Guess(name, {"path": path}) for name, path in guesses]
        self.desk.permitted = permitted
        self.in_step = True

        async def begin() -> None:
            self.early.begin(Seen("task"), TOOLS)

        self.loop.run_until_complete(begin())
        self.turns(turns)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.run_until_complete(asyncio.sleep(0))

    @precondition(lambda self: self.desk.running)
    @rule(data=st.data(), fails=st.sampled_from([False, False, True]), turns=TURNS)
    def a_tool_goes_on(self, data: st.DataObject, *, fails: bool, turns: int) -> None:
        running = data.draw(st.sampled_from(self.desk.running))
        running.fails = fails
        running.go.set()
        self.turns(turns)

    @precondition(lambda self: self.in_step)
    @rule(data=st.data(), turns=TURNS)
    def ask(self, data: st.DataObject, *, turns: int) -> None:
        guess = data.draw(st.sampled_from(self.next))
        name = guess.tool
        own = str(guess.arguments["path"])
        path = data.draw(st.sampled_from((own, own, own, *FILES)))
        request = Request(ToolCall(f"call{len(self.requests)}", name, {"path": path, "debug_note": 1}))
        request.at_version = self.desk.versions[path]
        request.task = self.loop.create_task(self.early.take(request.call))
        self.requests.append(request)
        self.turns(turns)

    @precondition(lambda self: self.in_step)
    @rule(data=st.data(), told=st.sampled_from([False, False, False, True]))
    def a_file_is_written(self, data: st.DataObject, *, told: bool) -> None:
        """By a call of the model, which is told of, or by somebody else."""
        path = str(data.draw(st.sampled_from(self.next)).arguments["path"])
        if told:
            self.early.outdate()
        self.desk.versions[path] += 1

    @precondition(lambda self: self.in_step)
    @rule(raises=st.sampled_from([False, False, True]))
    def the_disk_comes_and_goes(self, *, raises: bool) -> None:
        self.desk.raises = raises

    @precondition(lambda self: any(not one.task.done() for one in self.requests))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([one for one in self.requests if not one.task.done()]))
        request.task.cancel()
        request.cancelled = True

    @precondition(lambda self: self.in_step)
    @rule()
    def end_step(self) -> None:
        while not all(one.task.done() for one in self.requests):
            for running in self.desk.running:
                running.go.set()
            self.turns(1)
        self.early.settle()
        self.in_step = False

    # What holds.

    @invariant()
    def no_write_but_of_a_request(self) -> None:
        settled = Counter(event.id for event in self.events if isinstance(event, SpeculationEnded))
        assert all(count == 1 for count in settled.values())
        written = Counter(self.desk.written)
        assert all(count == 1 for count in written.values())
        asked = Counter((one.call.name, str((one.call.arguments or {})["path"])) for one in self.requests)
        began = {event.id: event.guess for event in self.events if isinstance(event, SpeculationBegan)}
        wrote = Counter((began[id_].tool, str(began[id_].arguments["path"])) for id_ in written)
        assert not wrote - asked, "written though nobody asked"

    @invariant()
    def what_is_used_is_right(self) -> None:
        for request in self.requests:
            if not request.task.done() or request.task.cancelled():
                continue
            taken = request.task.result()  # raises nothing of a guess
            if taken is None:
                continue
            assert taken.result.call_id == request.call.id
            assert not taken.result.is_error, "an error of a guess"
            if request.call.name == "look":
                version = int(taken.result.text[1:])
                assert version >= request.at_version, "stale"

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.desk.running) <= AT_ONCE

    def teardown(self) -> None:
        for running in self.desk.running:
            running.go.set()
        self.turns(20)
        self.what_is_used_is_right()
        self.no_write_but_of_a_request()
        assert all(one.task.done() for one in self.requests)
        written = list(self.desk.written)
        self.loop.run_until_complete(self.early.close())
        self.turns(5)
        assert self.desk.written == written
        assert self.desk.running == []
        began = [event.id for event in self.events if isinstance(event, SpeculationBegan)]
        ended = [event.id for event in self.events if isinstance(event, SpeculationEnded)]
        assert sorted(began) == sorted(ended)
        hits = [one for one in self.events if isinstance(one, SpeculationEnded) and one.outcome == "hit"]
        served = [one for one in self.requests if not one.task.cancelled() and one.task.result() is not None]
        assert len(served) == len(hits) == self.early.count.hits
        assert set(self.desk.written) - {one.id for one in hits} == set() or any(
            one.cancelled for one in self.requests
        )
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


TestSpeculationMachine = SpeculationMachine.TestCase
TestSpeculationMachine.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
