"""C11 at the wire: what a provider executed itself, how it goes back, and which of its tools are offered."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest
import respx
from wire_support import (
    EVENT_STREAM,
    SWAP_URL,
    answering,
    anthropic,
    ask,
    chunk,
    data,
    keys,
    model_on,
    mounted,
    openai,
    swap,
)

from hyperguild.adapters.models import open_client
from hyperguild.adapters.models.provider_blocks import WORDS_CHARS
from hyperguild.domain.chain import Model, ProviderTool
from hyperguild.domain.message_records import as_record, from_record
from hyperguild.domain.messages import (
    Finish,
    Message,
    ModelRequest,
    Source,
    SourcesNamed,
    StreamPart,
    Verbatim,
    VerbatimContent,
)
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.errors import ProtocolError

CLAUDE_URL = "https://api.anthropic.com/v1/messages"
OPENAI_URL = "https://api.openai.com/v1/chat/completions"
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
PAGE = {"type": "web_search_result", "url": "https://x.example/a", "title": "A", "encrypted_content": "e"}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [PAGE]}
SAID = {"type": "text", "text": "Found."}
USER = Message("user", "Search.")
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
BASH = {"type": "bash_20250124", "name": "bash"}
SHELL = ToolSpec(
    "shell",
    "Run a command.",
    {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    "exec",
    "exec",
)
CALLED = {"type": "tool_use", "id": "t1", "name": "fs_read", "input": {}}
READ_CALL = ToolCall("t1", "fs_read", {}, "{}")
READ_RESULT = Message.of_result(ToolResult("t1", "fs_read", "text"))


def claude(**fields: Any) -> Model:
    return model_on(anthropic(), "claude-sonnet-4-6", **{"name": "claude", **fields})


def answered(*blocks: dict[str, Any], text: str = "", calls: tuple[ToolCall, ...] = ()) -> Message:
    return Message("assistant", text, tool_calls=calls, verbatim=Verbatim("claude", blocks))


async def body_of(request: ModelRequest, url: str = CLAUDE_URL) -> dict[str, Any]:
    router = respx.MockRouter()
    route = router.post(url).respond(200, json={})
    client = open_client(request.model.endpoint, keys=keys(), transport_factory=mounted(router))
    with pytest.raises(ProtocolError):
        [part async for part in client.stream(request)]
    await client.aclose()
    body: dict[str, Any] = json.loads(route.calls.last.request.content)
    return body


async def assistant_turn(*messages: Message) -> list[dict[str, Any]]:
    """Return the blocks of the first assistant turn that goes to Claude."""
    turns = (await body_of(ask(claude(), messages=messages)))["messages"]
    blocks: list[dict[str, Any]] = next(turn["content"] for turn in turns if turn["role"] == "assistant")
    return blocks


async def parts_of(model: Model, response: httpx.Response, **fields: Any) -> list[StreamPart]:
    client = open_client(model.endpoint, keys=keys(), transport_factory=answering(response))
    parts = [part async for part in client.stream(ask(model, **fields))]
    await client.aclose()
    return parts


def whole(*blocks: dict[str, Any], stop: str = "end_turn") -> httpx.Response:
    document = {"type": "message", "content": list(blocks), "stop_reason": stop, "usage": {}}
    return httpx.Response(200, json=document)


async def test_c11_a_call_and_its_result_go_back_as_they_came() -> None:
    assert await assistant_turn(USER, answered(SEARCH, FOUND, SAID), USER) == [SEARCH, FOUND, SAID]


async def test_c11_a_call_without_its_result_becomes_plain_text() -> None:
    first, second = await assistant_turn(USER, answered(SAID, SEARCH), Message("user", "Go on."))
    assert first == SAID
    assert second["type"] == "text"
    assert "web_search was called" in second["text"]
    assert '{"query": "x"}' in second["text"]


async def test_c11_a_result_without_its_call_becomes_plain_text() -> None:
    (told,) = await assistant_turn(USER, answered(FOUND), USER)
    assert told == {"type": "text", "text": "[web_search returned: A <https://x.example/a>]"}


async def test_c11_a_result_before_its_call_is_none_of_its_own() -> None:
    blocks = await assistant_turn(USER, answered(FOUND, SEARCH), USER)
    assert [block["type"] for block in blocks] == ["text", "text"]


async def test_c11_a_paused_turn_goes_back_as_it_is() -> None:
    assert await assistant_turn(USER, answered(SAID, SEARCH)) == [SAID, SEARCH]
    # the next answer goes on with it: together they are one turn, and the call has its result
    assert await assistant_turn(USER, answered(SEARCH), answered(FOUND, SAID), USER) == [SEARCH, FOUND, SAID]


async def test_c11_a_call_that_waits_for_our_results_goes_back_as_it_is() -> None:
    mixed = answered(SEARCH, CALLED, calls=(READ_CALL,))
    assert await assistant_turn(USER, mixed, READ_RESULT) == [SEARCH, CALLED]
    # the server refuses it once anything but results stands behind it
    told, ours = await assistant_turn(USER, mixed, READ_RESULT, Message("user", "Hurry."))
    assert told["type"] == "text"
    assert ours == CALLED


async def test_c11_signed_reasoning_around_a_call_keeps_its_place() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    blocks = await assistant_turn(USER, answered(thought, SEARCH, thought), USER)
    assert [block["type"] for block in blocks] == ["thinking", "text", "thinking"]


@pytest.mark.parametrize("said", ["", "Found."])
async def test_c11_another_model_gets_words_where_there_would_be_none(said: str) -> None:
    messages = (USER, answered(SEARCH, FOUND, text=said), USER)
    theirs = await body_of(ask(claude(name="another"), messages=messages))
    (block,) = theirs["messages"][1]["content"]
    ours = await body_of(ask(model_on(swap()), messages=messages), f"{SWAP_URL}/v1/chat/completions")
    assert ours["messages"][1]["content"] == block["text"]
    if said:
        assert block["text"] == said
    else:
        assert block["text"].splitlines() == [
            '[web_search was called with {"query": "x"}]',
            "[web_search returned: A <https://x.example/a>]",
        ]
    assert "s1" not in json.dumps([theirs, ours])


async def test_c11_words_are_bounded() -> None:
    huge = {**FOUND, "content": [{**PAGE, "title": "long " * 1000}]}
    (told,) = await assistant_turn(USER, answered(huge), USER)
    assert len(told["text"]) < WORDS_CHARS + 100


async def test_c11_sources_are_stored_and_not_sent() -> None:
    cited = {
        **SAID,
        "citations": [
            {"type": "web_search_result_location", "url": "https://x.example/a", "title": "again"},
            {"type": "web_search_result_location", "url": "https://x.example/b", "title": "B"},
            {"type": "char_location", "document_title": "no address"},
        ],
    }
    page = {"title": "C", "type": "document", "source": {"data": "…"}}
    fetched = {
        "type": "web_fetch_tool_result",
        "tool_use_id": "s2",
        "content": {"type": "web_fetch_result", "url": "https://x.example/c", "content": page},
    }
    failed = {"type": "web_search_tool_result", "tool_use_id": "s3", "content": {"error_code": "unavailable"}}
    sources = (
        Source("https://x.example/a", "A"),
        Source("https://x.example/b", "B"),
        Source("https://x.example/c", "C"),
    )
    parts = await parts_of(claude(), whole(SEARCH, FOUND, cited, fetched, failed))
    assert [part for part in parts if isinstance(part, SourcesNamed)] == [SourcesNamed(sources)]

    message = Message("assistant", "Found.", sources=sources)
    assert as_record(message)["sources"][0] == {"url": "https://x.example/a", "title": "A"}
    assert from_record(as_record(message)) == message
    assert "x.example" not in json.dumps(await body_of(ask(claude(), messages=(USER, message, USER))))


async def test_c11_sources_of_chat_completions() -> None:
    def cites(*urls: str) -> dict[str, Any]:
        cited = [{"type": "url_citation", "url_citation": {"url": url, "title": "T"}} for url in urls]
        return chunk({"annotations": [*cited, {"type": "other"}, None]})

    lines = [chunk({"content": "Yes."}), cites("https://a.example"), cites("https://b.example")]
    stream = data(*lines, chunk({"annotations": "?"}), chunk({}, "stop"), "[DONE]")
    parts = await parts_of(model_on(openai()), httpx.Response(200, headers=EVENT_STREAM, content=stream))
    named = [part.sources for part in parts if isinstance(part, SourcesNamed)]
    assert named == [(Source("https://a.example", "T"),), (Source("https://b.example", "T"),)]


async def test_c11_tools_of_the_provider_stand_beside_ours() -> None:
    own = (ProviderTool(WEB_SEARCH),)
    body = await body_of(ask(claude(provider_tools=own), tools=(SHELL,), provider_tools=True))
    assert [tool["name"] for tool in body["tools"]] == ["shell", "web_search"]
    assert body["tools"][1] == WEB_SEARCH
    alone = await body_of(ask(claude(provider_tools=own), provider_tools=True))
    assert alone["tools"] == [WEB_SEARCH]
    assert "tool_choice" not in alone
    there = model_on(openai(), provider_tools=(ProviderTool({"type": "x:web_search"}),))
    body = await body_of(ask(there, tools=(SHELL,), provider_tools=True), OPENAI_URL)
    assert [tool["type"] for tool in body["tools"]] == ["function", "x:web_search"]


async def test_c11_judges_and_summaries_get_none_of_them() -> None:
    assert "tools" not in await body_of(ask(claude(provider_tools=(ProviderTool(WEB_SEARCH),))))


async def test_c11_a_tool_with_a_local_runner_goes_by_its_own_name_and_comes_back_by_ours() -> None:
    model = claude(provider_tools=(ProviderTool(BASH, runner="shell"),))
    call = ToolCall("t1", "shell", {"command": "ls"}, "{}")
    messages = (
        USER,
        Message("assistant", "", tool_calls=(call,)),
        Message.of_result(ToolResult("t1", "shell", "a.py")),
    )
    body = await body_of(ask(model, messages=messages, tools=(SHELL,), provider_tools=True))
    assert body["tools"] == [BASH]
    assert body["messages"][1]["content"][0]["name"] == "bash"

    used = {"type": "tool_use", "id": "t2", "name": "bash", "input": {"command": "pwd"}}
    parts = await parts_of(model, whole(used, stop="tool_use"), tools=(SHELL,), provider_tools=True)
    names = [getattr(part, "name", "") for part in parts]
    assert "shell" in names
    assert "bash" not in names


async def test_c11_a_runner_that_is_not_offered_takes_its_tool_with_it() -> None:
    model = claude(provider_tools=(ProviderTool(BASH, runner="shell"),))
    read = ToolSpec("fs_read", "Read.", {"type": "object"}, "read", "read")
    body = await body_of(ask(model, tools=(read,), provider_tools=True))
    assert [tool["name"] for tool in body["tools"]] == ["fs_read"]


async def test_c11_a_turn_that_the_provider_paused_says_so() -> None:
    parts = await parts_of(claude(), whole(SEARCH, stop="pause_turn"))
    assert VerbatimContent((SEARCH,)) in parts
    assert parts[-1] == Finish("paused")


async def test_g4_reasoning_is_never_marked_for_the_cache() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    body = await body_of(ask(claude(), messages=(USER, answered(thought)), tools=(SHELL,)))
    assert body["messages"][1]["content"] == [thought]


async def test_g4_other_options_of_a_block_are_kept_and_the_callers_messages_stay_as_they_are() -> None:
    cited = {**SAID, "citations": [{"type": "char_location", "cited_text": "x"}]}
    messages = (USER, answered(SEARCH, FOUND, cited))
    before = copy.deepcopy(messages)
    body = await body_of(ask(claude(), messages=messages, tools=(SHELL,)))
    assert messages == before
    marked = {**cited, "cache_control": {"type": "ephemeral"}}
    assert body["messages"][-1]["content"] == [SEARCH, FOUND, marked]
