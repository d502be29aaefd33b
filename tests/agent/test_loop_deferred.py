"""C8 over the simulated fleet: what is sent of deferred tools, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from agent.looping import Bench, FunctionTool, calls, loop_over, says, tool

from hyperguild.agent.routing import LOAD, SELECT
from hyperguild.agent.watch import CallBegan, CallEnded
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.tools import ToolSpec
from hyperguild.simulation.process import FleetProcess


async def look(path: str = "") -> str:
    return f"saw {path or 'nothing'}"


async def ask(path: str = "") -> str:
    return f"asked {path}"


async def find(path: str = "") -> str:
    return f"found {path}"


LOOK = tool(look)
ASK, FIND = tool(ask, deferred=True), tool(find, deferred=True, category="search")


def load(*names: str) -> dict[str, Any]:
    return {"name": LOAD, "arguments": {"names": list(names)}}


def offers(bench: Bench) -> list[list[str]]:
    return [[one["function"]["name"] for one in body["tools"]] for body in bench.sent()]


def results(bench: Bench) -> list[tuple[str, str, bool]]:
    return [(one.result.name, one.result.text, one.result.is_error) for one in bench.seen(CallEnded)]


async def test_c8_a_schema_is_sent_once_the_tool_was_asked_for(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls(load("ask"), "look"), calls("ask"), says("Done.")], [LOOK, ASK, FIND])
    assert (await bench.run()).text == "Done."
    assert offers(bench) == [
        ["look", LOAD],
        ["look", "ask", LOAD],
        ["look", "ask", LOAD],
    ]
    assert results(bench) == [
        (LOAD, f"tools now: look, ask, {LOAD}", False),
        ("look", "saw nothing", False),
        ("ask", "asked ", False),
    ]
    assert [one.call.name for one in bench.seen(CallBegan)] == [LOAD, "look", "ask"]
    bench.check()


async def test_c8_a_tool_that_is_not_loaded_does_not_run(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls("look", "ask"), says("Done.")], [LOOK, ASK])
    await bench.run()
    assert results(bench)[0] == ("ask", f"ask is not loaded: load it first with {LOAD}", True)
    assert results(bench)[1] == ("look", "saw nothing", False)
    told = [one["tool_call_id"] for one in bench.sent()[1]["messages"] if one["role"] == "tool"]
    called = [one["id"] for one in bench.sent()[1]["messages"][2]["tool_calls"]]
    assert told == called  # in call order, whichever was answered first
    bench.check()


async def test_c8_in_two_stages_they_are_loaded_in_their_category(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet,
        [
            calls({"name": SELECT, "arguments": {"category": "search"}}),
            calls(load("find")),
            calls("find"),
            says("Done."),
        ],
        [LOOK, ASK, FIND],
        policy=AgentPolicy(two_stage="always"),
    )
    assert (await bench.run()).text == "Done."
    assert offers(bench) == [[SELECT], [LOAD, SELECT], ["find", SELECT], ["find", SELECT]]
    bench.check()


async def test_c8_loading_the_same_again_and_again_is_a_repeated_call(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls(load("nope"))] * 3 + [calls(load("nope"), times=3)], [LOOK, ASK])
    end = await bench.run()
    assert end.cause == "repeated_call"
    bench.check()


def many(*, deferred: bool) -> Sequence[FunctionTool]:
    described = {"type": "string", "description": "Where it is: a path from the root of the repository"}
    parameters = {"type": "object", "properties": dict.fromkeys(("owner", "repo", "path", "ref"), described)}
    about = "Reads one thing of a repository. What there is no permission for is left out of it."
    return [
        FunctionTool(
            ToolSpec(f"hub_get_{number}", about, parameters, "read", source="hub", deferred=deferred), look
        )
        for number in range(30)
    ]


async def test_c8_thirty_deferred_tools_cost_a_fraction(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = []
    for deferred in (False, True):
        bench = loop_over(fleet, [says("Done.")], many(deferred=deferred))
        await bench.run()
        tokens.append(len(json.dumps(bench.sent()[0]["tools"])) // 4)
    with capsys.disabled():
        print(f"\n30 tools of a server as sent: {tokens[0]} tokens; deferred: {tokens[1]}")  # noqa: T201 - the figures are to be seen
    assert tokens[1] < tokens[0] / 3
