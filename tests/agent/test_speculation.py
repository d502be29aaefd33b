"""Calls that are started before the model asks for them, in a loop whose time jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from agent.looping import FunctionTool, allow, tool, whole
from agent.scripted import Pause, Scripted, Turn, in_jumping_time, scripted

from hyperguild.agent.guesses import Guess, Seen, matches
from hyperguild.agent.hooks import Hook, Hooks
from hyperguild.agent.speculation import EarlyRules, SpeculationBegan, SpeculationEnded
from hyperguild.agent.terms import LoopEnd
from hyperguild.agent.toolbox import CallRules
from hyperguild.agent.watch import CallEnded
from hyperguild.domain.messages import Finish, TextDelta, ToolCallDelta
from hyperguild.domain.tools import ToolCall, ToolError, ToolSpec

THINKS_S, WORKS_S = 0.3, 0.4


@dataclass
class Scripts:
    """A predictor that is written down: the guesses of each step, by how many calls came before."""

    by_calls: Sequence[Sequence[Guess]]

    def guesses(self, seen: Seen) -> Sequence[Guess]:
        return self.by_calls[len(seen.calls)] if len(seen.calls) < len(self.by_calls) else ()


@dataclass
class World:
    """Files in memory, and what was done to them, in order."""

    files: dict[str, str] = field(default_factory=lambda: {"a": "1", "b": "2", "c": "3"})
    done: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    stamps: bool = True

    async def permit(self, call: ToolCall, spec: ToolSpec) -> str | None:
        del spec
        return "no" if call.name in self.refused else None

    async def stamp(self, call: ToolCall) -> Hashable | None:
        return self.files.get(str((call.arguments or {}).get("path")), "") if self.stamps else None

    def tools(self) -> list[FunctionTool]:
        async def look(path: str = "") -> str:
            self.done.append(f"look {path}")
            seen = self.files.get(path)
            await asyncio.sleep(WORKS_S)
            if seen is None:
                raise ToolError(f"no {path}")
            self.done.append(f"looked {path}")
            return seen

        async def put(path: str = "") -> str:
            self.files[path] = "new"
            self.done.append(f"put {path}")
            await asyncio.sleep(WORKS_S)
            return "done"

        async def shell(path: str = "") -> str:
            self.done.append(f"shell {path}")
            return "ran"

        return [tool(look), tool(put, "write", awaits_barrier=True), tool(shell, "exec")]


def asks(*named: tuple[str, str], thinks_s: float = THINKS_S) -> Turn:
    deltas = [
        ToolCallDelta(index, f"c{index}-{name}-{path}", name, f'{{"path": "{path}"}}')
        for index, (name, path) in enumerate(named)
    ]
    return (Pause(thinks_s), *deltas, Finish("tool_calls"))


def answers(text: str = "the answer is 42") -> Turn:
    return (Pause(THINKS_S), TextDelta(text), Finish("stop"))


def look_at(path: str, **more: Any) -> Guess:
    return Guess("look", {"path": path, **more})


def speculating(
    world: World, turns: Sequence[Turn], guesses: Sequence[Sequence[Guess]] | None, **fields: Any
) -> Scripted:
    predictor = None if guesses is None else Scripts(guesses)
    rules = CallRules(allow, whole, 10.0, EarlyRules(world.permit, world.stamp))
    return scripted(turns, world.tools(), predictor=predictor, rules=rules, **fields)


def ended(run: Scripted) -> list[str]:
    return [one.outcome for one in run.seen(SpeculationEnded)]


def run_it(run: Scripted) -> tuple[LoopEnd, float]:
    async def timed() -> tuple[LoopEnd, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = await run.run()
        assert len(asyncio.all_tasks()) == 1, "something of a guess is left running"
        return end, loop.time() - began

    return in_jumping_time(timed)


TASK = (asks(("look", "a")), asks(("look", "b")), asks(("look", "c")), answers())


def test_i2_what_is_guessed_right_is_done_while_the_model_thinks() -> None:
    plain, slow_s = run_it(speculating(World(), TASK, None))
    world = World()
    run = speculating(world, TASK, [[look_at("a")], [look_at("b")], [look_at("c")]])
    end, fast_s = run_it(run)
    assert end == plain
    assert world.done == [f"{did} {path}" for path in "abc" for did in ("look", "looked")]
    assert ended(run) == ["hit", "hit", "hit"]
    assert slow_s - fast_s == pytest.approx(3 * THINKS_S)
    assert run.loop.speculated is not None
    assert (run.loop.speculated.hits, run.loop.speculated.misses) == (3, 0)
    assert run.loop.speculated.saved_ms == pytest.approx(3 * THINKS_S * 1000, abs=3)
    results = [one.result for one in run.seen(CallEnded)]
    assert [one.text for one in results] == ["1", "2", "3"]
    assert [one.call_id for one in results] == ["c0-look-a", "c0-look-b", "c0-look-c"]


def test_i2_a_wrong_guess_costs_nothing_and_leaves_nothing() -> None:
    _, slow_s = run_it(speculating(World(), TASK, None))
    run = speculating(World(), TASK, [[look_at("x")]] * 4)
    _, same_s = run_it(run)
    assert same_s == pytest.approx(slow_s)
    assert ended(run) == ["miss"] * 3  # and then it is not guessed again
    assert [one.result.text for one in run.seen(CallEnded)] == ["1", "2", "3"]


def test_i2_one_speculation_serves_one_call() -> None:
    world = World()
    run = speculating(world, (asks(("look", "a"), ("look", "a")), answers()), [[look_at("a"), look_at("a")]])
    run_it(run)
    assert world.done.count("look a") == 2
    assert ended(run) == ["hit"]


@pytest.mark.parametrize(
    ("guessed", "called", "same"),
    [
        ({}, {}, True),
        ({}, {"debug_level": 3}, True),
        ({"path": "a", "debug_x": 1}, {"path": "a"}, True),
        ({"a": {"debug_x": 1}}, {"a": {}}, False),
        ({"a": 1, "b": [1, {"c": None}]}, {"b": [1, {"c": None}], "a": 1}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": 2**53}, {"a": 2**53 + 1}, False),
        ({"a": 2**53 + 1}, {"a": 2**53 + 1}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({}, None, False),
    ],
)
def test_i2_calls_match_by_tool_and_equal_arguments(
    guessed: dict[str, Any], called: dict[str, Any] | None, *, same: bool
) -> None:
    assert matches(Guess("look", guessed), ToolCall("c", "look", called)) is same
    assert not matches(Guess("look", guessed), ToolCall("c", "see", called))


def test_i2_a_write_runs_up_to_the_barrier_and_a_match_commits_it() -> None:
    world = World()
    seen_at: dict[str, str] = {}
    original = world.stamp

    async def stamp(call: ToolCall) -> Hashable | None:
        seen_at.setdefault("stamp", world.files["a"])
        return await original(call)

    world.stamp = stamp  # type: ignore[method-assign]
    run = speculating(world, (asks(("put", "a")), answers()), [[Guess("put", {"path": "a"})]])
    run_it(run)
    assert seen_at == {"stamp": "1"}
    assert world.done == ["put a"]
    assert ended(run) == ["hit"]


def test_i1_a_write_that_nobody_asked_for_is_never_made() -> None:
    world = World()
    guesses = [[Guess("put", {"path": "a"}), Guess("put", {"path": "b"})]] * 2
    run = speculating(world, (asks(("look", "c")), answers()), guesses)
    run_it(run)
    assert world.files == {"a": "1", "b": "2", "c": "3"}
    assert "put" not in " ".join(world.done)
    assert ended(run) == ["miss"] * 4


@pytest.mark.parametrize("at_s", [0.1, 0.29, 0.3, 0.31, 0.5, 0.75, 0.99])
def test_i1_cancelled_in_the_middle_no_write_comes_after(at_s: float) -> None:
    world = World()
    run = speculating(world, (asks(("look", "c")), asks(("put", "a"))), [[Guess("put", {"path": "a"})]] * 3)

    async def cancelled() -> None:
        task = asyncio.create_task(run.run())
        await asyncio.sleep(at_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        await asyncio.sleep(10)

    in_jumping_time(cancelled)
    assert world.files["a"] == "1"


def test_i2_shell_is_never_started_early() -> None:
    world = World()
    run = speculating(world, (asks(("look", "a")), answers()), [[Guess("shell", {"path": "rm"})]] * 2)
    run_it(run)
    assert world.done == ["look a", "looked a"]
    assert run.seen(SpeculationBegan) == []


@pytest.mark.parametrize("terms", [{"exclusive": True}, {"untimed": True}, {"effect": "exec"}])
def test_i2_only_what_was_declared_to_read_is_started_early(terms: dict[str, Any]) -> None:
    world = World()
    look, *_ = world.tools()
    look = replace(look, spec=replace(look.spec, **terms))
    rules = CallRules(allow, whole, 10.0, EarlyRules(world.permit, world.stamp))
    run = scripted((answers(),), [look], predictor=Scripts([[look_at("a")]]), rules=rules)
    run_it(run)
    assert world.done == []


def test_i6_what_is_not_permitted_or_does_not_fit_is_not_started() -> None:
    world = World(refused={"look"})
    run = speculating(world, (answers(),), [[look_at("a")]])
    run_it(run)
    assert world.done == []
    world = World()
    run = speculating(
        world, (answers(),), [[look_at("a", more=1), Guess("gone", {}), Guess("look", {"path": 7})]]
    )
    run_it(run)
    assert world.done == []
    assert run.seen(SpeculationBegan) == []


def test_c2_what_a_hook_wants_to_see_first_is_not_started() -> None:
    async def look_on(call: ToolCall) -> None:
        del call

    world = World()
    hooks = Hooks(pre_tool=(Hook(look_on, "h", tools=("lo*",)),))
    run = speculating(world, (answers(),), [[look_at("a")]], hooks=hooks)
    run_it(run)
    assert world.done == []


def test_i6_a_step_starts_at_most_four() -> None:
    world = World()
    run = speculating(world, (answers(),), [[look_at(str(number)) for number in range(9)]])
    run_it(run)
    assert len(run.seen(SpeculationBegan)) == 4


def test_i5_a_read_before_a_write_of_the_same_step_is_stale() -> None:
    world = World()
    run = speculating(world, (asks(("put", "b"), ("look", "b")), answers()), [[look_at("b")]])
    run_it(run)
    assert [one.result.text for one in run.seen(CallEnded)] == ["done", "new"]
    assert ended(run) == ["stale"]


def test_i5_a_read_whose_file_somebody_else_wrote_is_stale() -> None:
    world = World()
    run = speculating(world, (asks(("look", "b")), answers()), [[look_at("b")]])

    async def written_meanwhile() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run.run())
            await asyncio.sleep(0.2)
            world.files["b"] = "by somebody"

    in_jumping_time(written_meanwhile)
    assert [one.result.text for one in run.seen(CallEnded)] == ["by somebody"]
    assert ended(run) == ["stale"]


def test_i5_nothing_is_started_whose_state_cannot_be_told() -> None:
    world = World(stamps=False)
    run = speculating(world, (asks(("look", "b")), answers()), [[look_at("b")]])
    run_it(run)
    assert world.done == ["look b", "looked b"]
    assert run.seen(SpeculationBegan) == []


def test_i3_an_error_in_a_guess_is_never_the_users() -> None:
    world = World(files={})
    run = speculating(world, (asks(("look", "b")), answers()), [[look_at("b")]])
    run_it(run)
    assert world.done == ["look b", "look b"]  # the second one is the call itself
    assert ended(run) == ["failed"]

    async def broken(call: ToolCall, spec: ToolSpec) -> str | None:
        raise RuntimeError(f"{call.name} {spec.name}")

    world = World()
    world.permit = broken  # type: ignore[method-assign]
    run = speculating(world, (asks(("look", "b")), answers()), [[look_at("b")]])
    run_it(run)
    assert [one.result.text for one in run.seen(CallEnded)] == ["2"]


def test_i1_a_call_that_was_not_guessed_is_granted_at_once() -> None:
    unguessed: tuple[Sequence[Sequence[Guess]] | None, ...] = (None, [[]])
    for guesses in unguessed:
        world = World()
        run = speculating(world, (asks(("put", "a")), answers()), guesses)
        run_it(run)
        assert world.done == ["put a"]
        assert [one.result.text for one in run.seen(CallEnded)] == ["done"]
