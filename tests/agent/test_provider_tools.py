"""C11 in the loop: a scripted Messages API that searches, pauses and calls tools that we run for it."""

from __future__ import annotations

from typing import Any

from agent.looping import Bench, FunctionTool, calls, loop_over, says, tool

from hyperguild.agent.toolbox import CallRules
from hyperguild.agent.watch import CallEnded, Injected
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import ProviderTool
from hyperguild.domain.message_records import as_record
from hyperguild.domain.messages import Source
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.simulation.process import FleetProcess

PAGE = {"type": "web_search_result", "url": "https://x.example", "title": "X", "encrypted_content": "e"}
SAID = {"type": "text", "text": "Found it."}
SOURCE = Source("https://x.example", "X")
WEB_SEARCH = ProviderTool({"type": "web_search_20250305", "name": "web_search", "max_uses": 5})


def search(id_: str) -> dict[str, Any]:
    return {"type": "server_tool_use", "id": id_, "name": "web_search", "input": {"query": "x"}}


def found(id_: str) -> dict[str, Any]:
    return {"type": "web_search_tool_result", "tool_use_id": id_, "content": [PAGE]}


def blocks(*content: dict[str, Any], stop: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"content": list(content), "finish_reason": stop, "times": 1, **fields}


async def look(path: str = "") -> str:
    return f"saw {path or 'nothing'}"


def over_claude(fleet: FleetProcess, rules: list[dict[str, Any]], *tools: FunctionTool, **more: Any) -> Bench:
    return loop_over(fleet, rules, tools, face="anthropic", **{"provider_tools": (WEB_SEARCH,), **more})


def sent_types(bench: Bench) -> list[list[str]]:
    """Return the types of the blocks of each request's last assistant turn."""
    turns = [[turn for turn in body["messages"] if turn["role"] == "assistant"] for body in bench.sent()]
    return [[block["type"] for block in (turn[-1]["content"] if turn else [])] for turn in turns]


async def test_c11_what_the_provider_executed_is_replayed_in_its_message(fleet: FleetProcess) -> None:
    searched = blocks(
        search("s1"),
        found("s1"),
        {"type": "tool_use", "id": "t", "name": "look", "input": {}},
        stop="tool_use",
    )
    bench = over_claude(fleet, [searched, says("Done.")], tool(look))
    assert (await bench.run()).text == "Done."
    assert sent_types(bench)[1] == ["server_tool_use", "web_search_tool_result", "tool_use"]
    assert [one.result.name for one in bench.seen(CallEnded)] == ["look"]
    assert [tool["name"] for tool in bench.sent()[0]["tools"]] == ["look", "web_search"]
    assert all("container" not in body and "previous_response_id" not in body for body in bench.sent())


async def test_c11_a_paused_turn_goes_on_within_the_step_budget(fleet: FleetProcess) -> None:
    rules = [
        blocks({**SAID, "text": "I look. "}, search("s1"), stop="pause_turn"),
        blocks(found("s1"), search("s2"), stop="pause_turn"),
        blocks(found("s2"), SAID),
    ]
    bench = over_claude(fleet, rules)
    end = await bench.run()
    assert (end.text, end.finish_reason) == ("I look. Found it.", "stop")
    assert not bench.seen(Injected)
    assert sent_types(bench)[1:] == [
        ["text", "server_tool_use"],
        ["text", "server_tool_use", "web_search_tool_result", "server_tool_use"],
    ]
    assert len(bench.kept) == 3
    endless = over_claude(
        fleet, [blocks(search("s1"), stop="pause_turn", times=None)], policy=AgentPolicy(max_steps=1)
    )
    assert (await endless.run()).cause == "max_steps"
    assert len(endless.sent()) == 1


async def test_c11_pauses_leave_an_answer_its_continuations(fleet: FleetProcess) -> None:
    pauses = [
        blocks(*([found(f"s{n - 1}")] if n else []), search(f"s{n}"), stop="pause_turn") for n in range(3)
    ]
    rest = [blocks(found("s2"), {**SAID, "text": "One, "}, stop="length"), says("two.")]
    bench = over_claude(fleet, [*pauses, *rest])
    end = await bench.run()
    assert (end.text, end.finish_reason) == ("One, two.", "stop")


async def test_c11_a_call_that_was_cut_off_is_replayed_as_text(fleet: FleetProcess) -> None:
    bench = over_claude(fleet, [blocks(SAID, search("s1"), stop="length"), says(" And more.")])
    end = await bench.run()
    assert end.text == "Found it. And more."
    assert sent_types(bench)[1] == ["text", "text"]
    assert "web_search was called" in bench.sent()[1]["messages"][1]["content"][1]["text"]


async def test_c11_sources_are_stored_with_the_step_and_not_replayed(fleet: FleetProcess) -> None:
    bench = over_claude(fleet, [blocks(search("s1"), found("s1"), SAID)])
    await bench.run()
    message = bench.kept[-1].messages[-1]
    assert message.sources == (SOURCE,)
    assert as_record(message)["sources"] == [{"url": "https://x.example", "title": "X"}]


async def test_c11_a_provider_tool_with_a_local_runner_runs_as_ours(fleet: FleetProcess) -> None:
    ran: list[str] = []

    async def shell(command: str) -> str:
        ran.append(command)
        return f"ran {command}"

    async def no_removing(call: ToolCall, spec: ToolSpec) -> str | None:
        return "rm is not allowed" if "rm" in str(call.arguments) else None

    async def whole(call: ToolCall, text: str) -> str:
        return text

    parameters = {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
        "additionalProperties": False,
    }
    own = tool(shell, "exec", parameters=parameters)
    asked = [{"name": "bash", "arguments": {"command": one}} for one in ("ls", "rm x")]
    asked.append({"name": "bash", "arguments": {"restart": True}})
    bench = over_claude(
        fleet,
        [calls(*asked), says("Done.")],
        own,
        provider_tools=(ProviderTool({"type": "bash_20250124", "name": "bash"}, "shell"),),
        toolbox_rules=CallRules(no_removing, whole, timeout_s=5),
    )
    assert (await bench.run()).text == "Done."
    assert ran == ["ls"]
    told = [(one.result.name, one.result.text, one.result.is_error) for one in bench.seen(CallEnded)]
    assert told[:2] == [("shell", "ran ls", False), ("shell", "rm is not allowed", True)]
    assert told[2][1].startswith("bad arguments")
    first, second = bench.sent()
    assert first["tools"] == [{"type": "bash_20250124", "name": "bash"}]
    assert [block["name"] for block in second["messages"][1]["content"]] == ["bash"] * 3


async def test_c11_a_tool_whose_runner_was_not_offered_is_refused(fleet: FleetProcess) -> None:
    bench = over_claude(
        fleet,
        [calls({"name": "bash", "arguments": {"command": "ls"}}), says("Done.")],
        tool(look),
        provider_tools=(ProviderTool({"type": "bash_20250124", "name": "bash"}, "shell"),),
    )
    await bench.run()
    assert [tool["name"] for tool in bench.sent()[0]["tools"]] == ["look"]
    ((told, is_error),) = [(one.result.text, one.result.is_error) for one in bench.seen(CallEnded)]
    assert is_error
    assert "does not exist" in told
