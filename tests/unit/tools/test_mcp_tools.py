"""C1, C5: the tools of real MCP servers, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import types
from mcp_support import (
    HERE,
    HttpServer,
    OpenBarrier,
    call,
    comes_true,
    kill,
    names,
    odd,
    offers,
    official,
    opened,
    runs,
    serving,
    tool,
)
from variants import mostly_long

from hyperguild.adapters.tools.mcp_results import TEXT_MAX_CHARS, result_text
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.tools import ToolError
from hyperguild.ports import ToolContext

FEW = {f"small_{name}" for name in ("echo", "fail", "slow", "big", "image", "crash", "about", "grow")}


async def refused(calling: Any) -> str:
    """Return what a call that fails is told."""
    with pytest.raises(ToolError) as caught:
        await calling
    return str(caught.value)


# --- offering


async def test_c1_mcp_tools_are_offered_as_server_and_tool() -> None:
    async with opened(official()) as (tools, warnings):
        offered = await tools.tools()
        assert names(offered) == FEW
        spec = next(each.spec for each in offered if each.spec.name == "small_echo")
        assert spec.parameters == {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        }
        assert (spec.description, spec.source) == ("Return the text.", "small")
        assert (spec.effect, spec.category) == ("exec", "meta")  # though it says of itself that it only reads
        assert warnings == []


async def test_c1_mcp_only_the_user_declares_tools_read_only_and_chooses_among_them() -> None:
    server = odd(read_only=("e*",), tools=("echo", "cr*", "lat*"), category="search")
    async with opened(server) as (tools, _):
        specs = {each.spec.name: each.spec for each in await tools.tools()}
        assert {name: spec.effect for name, spec in specs.items()} == {
            "odd_echo": "read",
            "odd_crash": "exec",
            "odd_latin": "exec",
        }
        assert {spec.category for spec in specs.values()} == {"search"}


async def test_c8_the_user_says_which_tools_of_a_server_are_deferred() -> None:
    async with opened(odd(deferred=("e*",), tools=("echo", "crash"))) as (tools, _):
        deferred = {each.spec.name: each.spec.deferred for each in await tools.tools()}
        assert deferred == {"odd_echo": True, "odd_crash": False}


async def test_c1_mcp_all_pages_of_the_list_are_read() -> None:
    async with opened(odd()) as (tools, _):
        offered = await tools.tools()
        assert {"odd_echo", "odd_huge_id_last", "odd_nothing", "odd_many_words_here"} <= names(offered)
        assert len(offered) == 19


async def test_c1_mcp_a_list_without_end_is_cut_off() -> None:
    async with opened(odd("cyclic")) as (tools, _):
        assert len(await tools.tools()) == 19


async def test_c1_mcp_servers_are_opened_when_their_tools_are_needed_and_once() -> None:
    async with opened(odd(name="one"), odd(name="two")) as (tools, _):
        (first, *_) = [each for each in await tools.tools({"one"}) if each.spec.name == "one_about"]
        before = json.loads(await first.run({}, ToolContext(OpenBarrier(), print)))["pid"]
        assert {each.spec.source for each in await tools.tools()} == {"one", "two"}
        assert json.loads(await call(tools, "one_about"))["pid"] == before


async def test_c1_mcp_many_tasks_may_ask_for_the_tools_at_once() -> None:
    async with opened(official()) as (tools, _):
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(tools.tools()) for _ in range(5)]
        assert all(names(task.result()) == FEW for task in asking)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(tools, "small_echo", text=str(n))) for n in range(20)]
        assert [task.result() for task in calls] == [str(n) for n in range(20)]


async def test_c1_mcp_a_program_sees_a_reduced_environment_and_its_own_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "OPENAI_API_KEY": "sk-secret", "LC_TIME": "C"}
    async with opened(odd(env={"MINE": "1"}, cwd=tmp_path), environment=environment) as (tools, _):
        about = json.loads(await call(tools, "odd_about"))
    assert about["cwd"] == str(tmp_path)
    assert "OPENAI_API_KEY" not in about["env"]
    assert (about["env"]["MINE"], about["env"]["LC_TIME"]) == ("1", "C")


@pytest.mark.parametrize("make", [official, odd])
async def test_c1_mcp_tools_that_a_server_adds_are_offered_at_the_next_step(make: Any) -> None:
    """The official server speaks the newest protocol (a subscription), the odd one that of 2025."""
    async with opened(make("plain", name="s") if make is odd else make("s")) as (tools, _):
        before = names(await tools.tools())
        assert await call(tools, "s_grow") == "grown"
        await offers(tools, "s_grown")
        assert names(await tools.tools()) == before | {"s_grown"}


async def test_c1_mcp_over_http() -> None:
    with serving("mcp_server.py", "token=abc") as url:
        async with opened(McpServer("web", url=url, headers={"X-Token": "abc"})) as (tools, warnings):
            assert await call(tools, "web_echo", text="é") == "é"
            assert "no such record" in await refused(call(tools, "web_fail"))
            await call(tools, "web_grow")
            await offers(tools, "web_grown")
            assert warnings == []


async def test_c1_mcp_over_http_in_the_protocol_of_2025() -> None:
    with serving("mcp_odd_server.py", "plain") as url:
        async with opened(McpServer("web", url=url)) as (tools, _):
            assert await call(tools, "web_echo", a=1) == '{"a": 1}'


# --- servers that cannot start


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (McpServer("bad", ("no-such-program",)), "the program 'no-such-program' is not there"),
        (McpServer("bad", (str(HERE),)), "may not be run"),
        (McpServer("bad", ("ls",), cwd=Path("/no/such/folder")), "the folder /no/such/folder is not there"),
        (odd("dies", name="bad"), "exit code 3: first words cannot open the data base"),
        (odd("babbles", name="bad"), "exit code 1: Usage: odd FOLDER"),
        (odd("mute", name="bad", start_timeout_s=1.0), "did not start within 1 s"),
        (McpServer("bad", url="http://127.0.0.1:9/mcp"), "nothing listens at http://127.0.0.1:9/mcp"),
        (McpServer("bad", url="gopher://127.0.0.1/"), "gopher"),
    ],
    ids=["missing", "folder", "cwd", "exit code", "babbles", "timeout", "refused", "scheme"],
)
async def test_c5_mcp_a_server_that_cannot_start_costs_its_tools_and_one_line(
    server: McpServer, reason: str
) -> None:
    async with opened(odd(), server) as (tools, warnings):
        assert names(await tools.tools()) == names(await tools.tools())
        assert {each.spec.source for each in await tools.tools()} == {"odd"}
        assert len(warnings) == 1
        assert "MCP server 'bad'" in warnings[0]
        assert reason in warnings[0]
        assert "\n" not in warnings[0]


async def test_c5_mcp_a_server_that_refuses_us_is_named_with_its_status_and_without_secrets() -> None:
    with serving("mcp_server.py", "token=abc") as url:
        server = McpServer("web", url=url + "?key=s3cret", headers={"X-Token": "wrong-token"})
        async with opened(server) as (tools, warnings):
            assert await tools.tools() == ()
    assert "HTTP 401 Unauthorized from " + url in warnings[0]
    assert "s3cret" not in warnings[0]
    assert "wrong-token" not in warnings[0]


# --- calls


async def test_c1_mcp_results_become_text() -> None:
    async with opened(odd()) as (tools, _):
        assert await call(tools, "odd_parts") == "\n".join(
            [
                "before",
                "[image, image/png, 3 bytes]",
                "[audio, audio/wav, 4 bytes]",
                "[resource file:///a.txt, text/plain, 7 bytes]",
                "inside",
                "[resource mem://b, x/y, 3 bytes]",
            ]
        )
        assert await call(tools, "odd_structured") == '{"of": ["ä"]}'
        assert await call(tools, "odd_nothing") == "[no content]"
        assert await call(tools, "odd_surrogate") == "a?b"
        assert await call(tools, "odd_latin") == "caf\ufffd"
        assert await call(tools, "odd_chatty") == "answered"
        assert await call(tools, "odd_many_words_here", a={"b": [1, None]}) == '{"a": {"b": [1, null]}}'
        assert await call(tools, "odd_echo", text="\ud800") == '{"text": "?"}'


async def test_c5_mcp_an_error_of_the_tool_is_a_tool_error_that_names_the_server() -> None:
    async with opened(odd()) as (tools, _):
        message = await refused(call(tools, "odd_fail"))
    assert message == "MCP server 'odd' reports an error: no such record"


async def test_c5_mcp_results_are_bounded() -> None:
    async with opened(official(), odd()) as (tools, _):
        assert await call(tools, "small_big", size=3_000_000) == "x" * 3_000_000
        for name in ("odd_huge_id_first", "odd_huge_id_last"):
            message = await refused(call(tools, name))
            assert "MCP server 'odd'" in message
            assert "over the limit of 8388608; ask for less" in message
        assert await call(tools, "odd_echo", still="there") == '{"still": "there"}'


def test_c5_mcp_a_text_is_cut_where_it_is_too_long() -> None:
    part = types.TextContent(text="x" * (TEXT_MAX_CHARS // 2 + 1))
    text = result_text(types.CallToolResult(content=[part, part]))
    assert text == "x" * (TEXT_MAX_CHARS // 2 + 1) + "\n" + "x" * (TEXT_MAX_CHARS // 2 - 2) + (
        "\n[cut: 3 more characters]"
    )


async def test_c5_mcp_a_message_that_belongs_to_nobody_and_is_too_long_ends_the_session() -> None:
    async with opened(odd()) as (tools, _):
        message = await refused(call(tools, "odd_huge_nameless"))
        assert "it sent a message of 94" in message
        assert await call(tools, "odd_echo") == "{}"


async def test_c5_mcp_what_breaks_the_protocol_is_a_tool_error() -> None:
    async with opened(odd()) as (tools, _):
        assert "MCP server 'odd': its answer breaks the protocol" in await refused(call(tools, "odd_wrong"))
        assert await call(tools, "odd_ask") == "refused: -32600"


async def test_c5_mcp_answers_over_http_are_bounded_and_statuses_named() -> None:
    with serving("mcp_odd_server.py", "plain") as url, serving("mcp_odd_server.py", "broken") as broken:
        async with opened(McpServer("web", url=url), McpServer("broken", url=broken)) as (tools, _):
            assert "more than 8388608 bytes" in await refused(call(tools, "web_huge_id_first"))
            assert await call(tools, "web_echo") == "{}"
            assert f"HTTP 502 Bad Gateway from {broken}" in await refused(call(tools, "broken_echo"))


async def test_c5_mcp_a_call_that_takes_too_long_is_cancelled_on_the_server(tmp_path: Path) -> None:
    async with opened(official(timeout_s=0.5)) as (tools, _):
        message = await refused(call(tools, "small_slow", folder=str(tmp_path)))
        assert message == "MCP server 'small': slow did not finish within 0.5 s and was cancelled"
        await comes_true((tmp_path / "cancelled").exists)
        assert await call(tools, "small_echo", text="still there") == "still there"


@pytest.mark.parametrize("face", mostly_long("http", long=("stdio",)))
async def test_c5_mcp_cancelling_a_call_cancels_it_on_the_server(face: str, tmp_path: Path) -> None:
    with serving("mcp_server.py") as url:
        server = McpServer("small", url=url) if face == "http" else official()
        async with opened(server) as (tools, _):
            slow = await tool(tools, "small_slow")
            running = asyncio.create_task(
                slow.run({"folder": str(tmp_path)}, ToolContext(OpenBarrier(), print))
            )
            await comes_true((tmp_path / "began").exists)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await comes_true((tmp_path / "cancelled").exists)
            assert await call(tools, "small_echo", text="still there") == "still there"


async def test_c5_mcp_a_tool_waits_at_the_barrier_unless_the_user_calls_it_read_only() -> None:
    barrier = OpenBarrier()
    async with opened(odd(read_only=("parts",))) as (tools, _):
        for name in ("odd_parts", "odd_echo"):
            found = await tool(tools, name)
            await found.run({}, ToolContext(barrier, lambda _text: None))
    assert barrier.count == 1


# --- death and restart


async def test_c5_mcp_a_server_that_died_is_started_again_at_the_next_call() -> None:
    async with opened(odd()) as (tools, warnings):
        first = json.loads(await call(tools, "odd_about"))["pid"]
        before = names(await tools.tools())
        assert await refused(call(tools, "odd_crash")) == (
            "MCP server 'odd': it ended with exit code 3: out of luck; the next call starts it again"
        )
        assert names(await tools.tools()) == before
        second = json.loads(await call(tools, "odd_about"))["pid"]
        assert (second != first, runs(first), warnings) == (True, False, [])


async def test_c5_mcp_calls_at_once_start_a_dead_server_once() -> None:
    async with opened(odd()) as (tools, _):
        await refused(call(tools, "odd_crash"))
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(tools, "odd_about")) for _ in range(5)]
        assert len({json.loads(task.result())["pid"] for task in calls}) == 1


async def test_c5_mcp_a_server_killed_between_calls_is_started_again() -> None:
    async with opened(odd()) as (tools, _):
        pid = json.loads(await call(tools, "odd_about"))["pid"]
        kill(pid)
        await comes_true(lambda: not runs(pid))
        await asyncio.sleep(0.2)  # the end of its output is on its way
        assert json.loads(await call(tools, "odd_about"))["pid"] != pid


async def test_c5_mcp_a_server_that_cannot_be_started_again_says_so_at_each_call(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text((HERE / "mcp_odd_server.py").read_text())
    server = McpServer("odd", (sys.executable, str(script), "stdio", "plain"))
    async with opened(server) as (tools, _):
        assert await call(tools, "odd_leave") == "goodbye"
        script.unlink()
        await refused(call(tools, "odd_echo"))
        for _ in range(2):
            assert "MCP server 'odd': it ended with exit code 2: " in await refused(call(tools, "odd_echo"))


async def test_c5_mcp_a_server_over_http_that_went_away_is_reached_again() -> None:
    with serving("mcp_odd_server.py", "plain") as url:
        async with opened(McpServer("web", url=url)) as (tools, _):
            assert await call(tools, "web_forget") == "{}"
            message = await refused(call(tools, "web_echo"))
            assert message == "MCP server 'web': it has forgotten the session; the next call starts it again"
            assert await call(tools, "web_echo") == "{}"


async def test_c5_mcp_a_server_over_http_that_is_down_is_named() -> None:
    server = HttpServer("mcp_server.py")
    try:
        async with opened(McpServer("web", url=server.start())) as (tools, _):
            assert await call(tools, "web_echo", text="a") == "a"
            message = await refused(call(tools, "web_crash"))
            assert "MCP server 'web': the connection to http://127.0.0.1" in message
            assert "nothing listens at" in await refused(call(tools, "web_echo", text="b"))
    finally:
        server.stop()


# --- ends


async def test_c5_mcp_closing_ends_the_programs_and_all_later_calls() -> None:
    async with opened(odd()) as (tools, _):
        about = await tool(tools, "odd_about")
        context = ToolContext(OpenBarrier(), lambda _text: None)
        pid = json.loads(await about.run({}, context))["pid"]
        await tools.aclose()
        await tools.aclose()
        assert not runs(pid)
        assert await refused(about.run({}, context)) == "MCP server 'odd': it is closed"


async def test_c5_mcp_closing_ends_a_call_that_is_under_way(tmp_path: Path) -> None:
    async with opened(official()) as (tools, _):
        running = asyncio.create_task(call(tools, "small_slow", folder=str(tmp_path)))
        await comes_true((tmp_path / "began").exists)
        await tools.aclose()
        with pytest.raises(ToolError, match="MCP server 'small'"):
            await running


async def test_c5_mcp_programs_that_will_not_end_are_killed_with_their_children(tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    async with opened(odd("stubborn", str(notes))) as (tools, _):
        assert await call(tools, "odd_echo") == "{}"
        pids = [int(word) for word in notes.read_text().split()]
        assert all(runs(pid) for pid in pids)
    await comes_true(lambda: not any(runs(pid) for pid in pids))


async def test_c5_mcp_a_close_that_is_itself_cancelled_kills_at_once(tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    async with opened(odd("stubborn", str(notes))) as (tools, _):
        await tools.tools()
        session = next(task for task in asyncio.all_tasks() if task.get_name() == "mcp odd")
        for _ in range(2):  # what asyncio does at its own end, and a user who is in a hurry
            session.cancel()
            await asyncio.sleep(0.1)
        await comes_true(lambda: not any(runs(int(word)) for word in notes.read_text().split()))
        assert session.done()


async def test_c5_mcp_cancelling_while_servers_start_leaves_nothing_behind(tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    async with opened(odd("stubborn mute", str(notes)), odd("mute", name="mute")) as (tools, _):
        opening = asyncio.create_task(tools.tools())
        await comes_true(lambda: notes.exists() and len(notes.read_text().split()) == 2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp ")]
        await comes_true(lambda: not any(runs(int(word)) for word in notes.read_text().split()))


async def test_c5_mcp_closing_while_servers_start_does_not_wait_for_them() -> None:
    async with opened(odd("mute", start_timeout_s=600.0)) as (tools, warnings):
        opening = asyncio.create_task(tools.tools())
        await asyncio.sleep(1.0)
        await tools.aclose()
        assert await opening == ()
        assert len(warnings) == 1


PARENT = """
import asyncio
from mcp_support import call, odd, opened

async def main():
    async with opened(odd()) as (tools, _):
        print(await call(tools, "odd_about"), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_c5_mcp_nothing_is_left_behind_when_the_parent_is_killed() -> None:
    argv = [sys.executable, "-c", PARENT]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = json.loads(parent.stdout.readline())["pid"]
        assert runs(pid)
        parent.kill()
    asyncio.run(comes_true(lambda: not runs(pid)))


# --- E1's measure


async def test_c1_mcp_thirty_tools_and_the_size_of_their_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(official("host", "many")) as (tools, _):
        specs = [each.spec for each in await tools.tools()]
    assert len(specs) == 30
    sizes = [
        len(
            json.dumps(
                {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
            )
        )
        for spec in specs
    ]
    with capsys.disabled():
        print(f"\n30 MCP tools: {sum(sizes)} characters of schemas, about {sum(sizes) // 4} tokens")  # noqa: T201
    assert sum(sizes) > 4_000
    assert "$ref" not in json.dumps([dict(spec.parameters) for spec in specs])


def test_c1_mcp_a_server_is_a_program_or_an_address() -> None:
    for fields in ({}, {"argv": ("a",), "url": "http://127.0.0.1/"}):
        with pytest.raises(ValueError, match="argv or url"):
            McpServer("s", **fields)  # type: ignore[arg-type]
    assert "secret" not in repr(
        McpServer("s", ("a",), env={"KEY": "secret"}, headers={"Authorization": "secret"})
    )


WITHOUT_EXTRA = """
import asyncio, sys
sys.modules["mcp"] = None
from hyperguild.adapters.tools.mcp import McpTools
from hyperguild.domain.mcp import McpServer

tools = McpTools([McpServer("s", ("true",))], environment={}, warn=print)
assert asyncio.run(tools.tools()) == ()
"""


def test_c5_mcp_without_the_extra_a_server_is_missing_and_the_line_says_what_to_install() -> None:
    argv = [sys.executable, "-c", WITHOUT_EXTRA]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert (
        said == "MCP server 's' cannot be used: pip install 'hyperguild[mcp]' first; its tools are missing\n"
    )
