"""Tools at the wire: how they are offered and called, and how results go back, in both protocols."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import respx
from wire_support import EVENT_STREAM, SWAP_URL, answering, anthropic, ask, keys, model_on, mounted, swap

from hyperguild.adapters.models import open_client
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.messages import (
    Finish,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    Sent,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    Verbatim,
    VerbatimContent,
)
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.errors import ProtocolError
from hyperguild.inference.tool_calls import CallAssembly

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
READ = ToolSpec("fs_read", "Read a file.", SCHEMA, "read", "read")

CALLED = Message(
    "assistant", "Let me look.", tool_calls=(ToolCall("c1", "fs_read", {"path": "ä.py"}, '{"path": "ä.py"}'),)
)
BROKEN = Message("assistant", "", tool_calls=(ToolCall("c2", "fs_read", None, '{"path": ', "cut off"),))
RESULT = Message.of_result(ToolResult("c1", "fs_read", "print()"))
FAILED = Message.of_result(ToolResult("c2", "fs_read", "the arguments are not valid JSON", is_error=True))
TRANSCRIPT = (Message("system", "Be brief."), Message("user", "Why?"), CALLED, RESULT, BROKEN, FAILED)


def claude(**fields: Any) -> Model:
    return model_on(anthropic(), "claude-sonnet-4-6", **{"name": "claude", **fields})


async def body_of(request: ModelRequest, url: str) -> dict[str, Any]:
    router = respx.MockRouter()
    route = router.post(url).respond(200, json={})
    client = open_client(request.model.endpoint, keys=keys(), transport_factory=mounted(router))
    with pytest.raises(ProtocolError):
        [part async for part in client.stream(request)]
    await client.aclose()
    body: dict[str, Any] = json.loads(route.calls.last.request.content)
    return body


async def parts_of(endpoint: Endpoint, response: httpx.Response) -> list[StreamPart]:
    client = open_client(endpoint, keys=keys(), transport_factory=answering(response))
    parts = [part async for part in client.stream(ask(model_on(endpoint), tools=(READ,)))]
    await client.aclose()
    return [part for part in parts if part not in (KeepAlive(), Sent())]


def chunks(*deltas: dict[str, Any], finish: str = "tool_calls") -> httpx.Response:
    lines = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    lines.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
    return httpx.Response(200, headers=EVENT_STREAM, content=text.encode())


def events(*said: dict[str, Any], stop: str = "tool_use") -> httpx.Response:
    every = [*said, {"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in every)
    return httpx.Response(200, headers=EVENT_STREAM, content=text.encode())


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": said}


async def test_tools_and_results_go_out_as_openai_has_them() -> None:
    request = ask(model_on(swap()), messages=TRANSCRIPT, tools=(READ,), tool_choice="required")

    body = await body_of(request, f"{SWAP_URL}/v1/chat/completions")

    function = {"name": "fs_read", "description": "Read a file.", "parameters": SCHEMA}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == "required"
    _, _, called, result, broken, failed = body["messages"]
    assert called["content"] == "Let me look."
    (call,) = called["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == ("c1", "function", "fs_read")
    assert json.loads(call["function"]["arguments"]) == {"path": "ä.py"}
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "print()"}
    # a server parses the arguments that it gets back: those that are broken go as an empty object
    assert broken["tool_calls"][0]["function"]["arguments"] == "{}"
    assert broken["content"] is None
    assert failed["content"] == "the arguments are not valid JSON"


async def test_tools_and_results_go_out_as_anthropic_has_them() -> None:
    request = ask(claude(), messages=TRANSCRIPT, tools=(READ,), tool_choice="required")

    body = await body_of(request, "https://api.anthropic.com/v1/messages")

    assert body["tools"] == [{"name": "fs_read", "description": "Read a file.", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "any"}
    roles = [turn["role"] for turn in body["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    call = body["messages"][1]["content"][1]
    assert call == {"type": "tool_use", "id": "c1", "name": "fs_read", "input": {"path": "ä.py"}}
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "print()"}
    ]
    assert body["messages"][4]["content"][0]["is_error"] is True


async def test_g4_the_system_prompt_and_the_last_two_messages_are_marked_for_the_cache() -> None:
    mark = {"type": "ephemeral"}
    request = ask(claude(), messages=TRANSCRIPT, tools=(READ,))

    body = await body_of(request, "https://api.anthropic.com/v1/messages")

    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    marked = [[block.get("cache_control") for block in turn["content"]] for turn in body["messages"]]
    assert marked == [[None], [None, None], [None], [mark], [mark]]
    plain = await body_of(ask(claude(), messages=TRANSCRIPT[:2]), "https://api.anthropic.com/v1/messages")
    assert "cache_control" not in json.dumps(plain)


async def test_b7_calls_are_assembled_by_their_index() -> None:
    parts = await parts_of(
        swap(),
        chunks(
            {"content": "Two files. "},
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "fs_read", "arguments": ""}}]},
            {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "fs_ls", "arguments": '{"pa'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"path": "x"}'}}]},
            {"tool_calls": [{"index": 1, "function": {"arguments": 'th": "y"}'}}]},
        ),
    )
    assert parts[0] == TextDelta("Two files. ")
    assert parts[-1] == Finish("tool_calls")
    assert assembled(parts) == [("a", "fs_read", {"path": "x"}), ("b", "fs_ls", {"path": "y"})]


@pytest.mark.parametrize(
    "call",
    [
        {"function": {"name": "fs_read", "arguments": {"path": "x"}}},  # as Ollama has it
        {
            "index": None,
            "id": None,
            "type": "function",
            "function": {"name": "fs_read", "arguments": '{"path": "x"}'},
        },
    ],
)
async def test_b7_calls_without_index_or_id(call: dict[str, Any]) -> None:
    assert assembled(await parts_of(swap(), chunks({"tool_calls": [call]}))) == [
        ("", "fs_read", {"path": "x"})
    ]


async def test_b7_calls_that_all_have_the_index_zero_are_told_apart_by_their_ids() -> None:
    calls = [
        {"tool_calls": [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}}]}
        for name in ("one", "two")
    ]
    assert assembled(await parts_of(swap(), chunks(*calls))) == [("one", "one", {}), ("two", "two", {})]


@pytest.mark.parametrize("calls", ["no list", [1], [{"function": []}]])
async def test_calls_of_another_shape_break_the_protocol(calls: Any) -> None:
    with pytest.raises(ProtocolError):
        await parts_of(swap(), chunks({"tool_calls": calls}))


async def test_b7_arguments_that_are_no_object_have_a_fault_that_quotes_the_parser() -> None:
    def call_with(text: str) -> ToolCall:
        assembly = CallAssembly()
        assembly.add(ToolCallDelta(0, "a", "fs_read", text))
        (call,) = assembly.calls()
        return call

    assert "Expecting" in call_with('{"path": ').fault
    assert "not list" in call_with("[1]").fault
    assert (call_with("").arguments, call_with("").fault) == ({}, "")
    assert call_with('{"path": "\\ud800x"}').arguments == {"path": "?x"}
    assert call_with("[" * 100_000).arguments is None


async def test_anthropics_calls_and_text() -> None:
    parts = await parts_of(
        anthropic(),
        events(
            start(0, type="text", text=""),
            delta(0, type="text_delta", text="Looking."),
            start(1, type="tool_use", id="t1", name="fs_read", input={}),
            delta(1, type="input_json_delta", partial_json='{"path":'),
            delta(1, type="input_json_delta", partial_json=' "x"}'),
        ),
    )
    assert assembled(parts) == [("t1", "fs_read", {"path": "x"})]
    assert parts[-1] == Finish("tool_calls")
    assert not [part for part in parts if isinstance(part, VerbatimContent)]


async def test_b4_signed_reasoning_goes_back_to_its_own_model_and_to_no_other() -> None:
    parts = await parts_of(
        anthropic(),
        events(
            start(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="hm"),
            delta(0, type="signature_delta", signature="c2ln"),
            start(1, type="tool_use", id="t1", name="fs_read", input={}),
            delta(1, type="input_json_delta", partial_json='{"path": "x"}'),
        ),
    )
    assert ReasoningDelta("hm") in parts
    (verbatim,) = [part for part in parts if isinstance(part, VerbatimContent)]
    content = (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": "t1", "name": "fs_read", "input": {"path": "x"}},
    )
    assert verbatim.content == content

    call = ToolCall("t1", "fs_read", {"path": "x"}, '{"path": "x"}')
    thought = Message("assistant", "", tool_calls=(call,), verbatim=Verbatim("claude", content))
    result = Message.of_result(ToolResult("t1", "fs_read", "text"))
    url = "https://api.anthropic.com/v1/messages"
    own = await body_of(ask(claude(), messages=(Message("user", "?"), thought, result)), url)
    assert own["messages"][1]["content"] == list(content)
    other = await body_of(ask(claude(name="another"), messages=(Message("user", "?"), thought, result)), url)
    assert [block["type"] for block in other["messages"][1]["content"]] == ["tool_use"]
    openai = await body_of(
        ask(model_on(swap()), messages=(Message("user", "?"), thought, result)),
        f"{SWAP_URL}/v1/chat/completions",
    )
    assert "c2ln" not in json.dumps(openai)


async def test_reasoning_without_a_signature_does_not_go_back() -> None:
    parts = await parts_of(
        anthropic(),
        events(
            start(0, type="thinking", thinking="hm", signature=""),
            start(1, type="text", text="Yes."),
            stop="end_turn",
        ),
    )
    assert not [part for part in parts if isinstance(part, VerbatimContent)]


async def test_c11_what_the_provider_executed_stays_in_the_message() -> None:
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "https://x.example"}]}
    document = {
        "type": "message",
        "content": [search, found, {"type": "text", "text": "Found."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    parts = await parts_of(anthropic(), httpx.Response(200, json=document))
    assert VerbatimContent((search, found, {"type": "text", "text": "Found."})) in parts
    assert assembled(parts) == []


def assembled(parts: list[StreamPart]) -> list[tuple[str, str, Any]]:
    assembly = CallAssembly()
    for part in parts:
        if isinstance(part, ToolCallDelta):
            assembly.add(part)
    return [(call.id, call.name, call.arguments) for call in assembly.calls()]
