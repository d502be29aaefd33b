"""C7, D0, D1: hooks of programs are plain async functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hyperguild.agent.hooks import Control, Denied
from hyperguild.agent.plain_hooks import hooks
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.tools import ToolCall, ToolResult

CALL = ToolCall("1", "shell", {"command": "ls"}, '{"command": "ls"}')
RESULT = ToolResult("1", "shell", "a.py", is_error=True)


async def nothing(call: ToolCall) -> None:
    del call


async def test_c7_pre_tool_hooks_are_plain_functions() -> None:
    async def politely(call: ToolCall) -> dict[str, Any]:
        return {**(call.arguments or {}), "please": True}

    async def never(call: ToolCall) -> Denied:
        return Denied(f"not {call.name}")

    async def renamed(call: ToolCall) -> ToolCall:
        return ToolCall(call.id, "fs_ls", {})

    made = hooks(pre_tool=[nothing, politely, never, renamed])
    assert [hook.name for hook in made.pre_tool] == ["nothing", "politely", "never", "renamed"]
    said = [await hook.run(CALL) for hook in made.pre_tool]
    assert said == [
        None,
        ToolCall("1", "shell", {"command": "ls", "please": True}, '{"command": "ls", "please": true}'),
        Denied("not shell"),
        ToolCall("1", "fs_ls", {}),
    ]


async def test_c7_post_tool_hooks_are_plain_functions() -> None:
    async def shout(call: ToolCall, result: ToolResult) -> str:
        return f"{call.name}: {result.text.upper()}"

    async def forgive(call: ToolCall, result: ToolResult) -> ToolResult:
        return ToolResult(result.call_id, call.name, "fine")

    first, second = hooks(post_tool=(shout, forgive)).post_tool
    assert await first.run(CALL, RESULT) == ToolResult("1", "shell", "shell: A.PY", is_error=True)
    assert await second.run(CALL, RESULT) == ToolResult("1", "shell", "fine")


async def test_d0_d1_hooks_around_steps_are_passed_on() -> None:
    async def before(messages: tuple[Message, ...]) -> Sequence[Message]:
        return messages[1:]

    async def after(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        control.stop()

    async def stop(answer: str) -> str | None:
        return "more" if len(answer) < 3 else None

    made = hooks(before_step=before, after_step=after, stop=stop)
    assert [one.run for one in made.before_step] == [before]
    assert [one.run for one in made.after_step] == [after]
    assert [one.name for one in made.stop] == ["stop"]
    assert await made.stop[0].run("no") == "more"


def test_c7_terms_hold_for_all_hooks_of_one_call() -> None:
    plain, timed = hooks(pre_tool=nothing), hooks(pre_tool=nothing, tools="fs_*", timeout_s=2, fail_open=True)
    (by_default,), (given,) = plain.pre_tool, timed.pre_tool
    assert (by_default.tools, by_default.timeout_s, by_default.fail_open) == (("*",), 30.0, False)
    assert (given.tools, given.timeout_s, given.fail_open, given.on_error) == (("fs_*",), 2, True, "ignore")
    assert timed.then(plain).pre_tool == (given, by_default)


async def test_what_means_nothing_is_the_hooks_own_error() -> None:
    async def confused(call: ToolCall) -> Any:
        return call.name

    with pytest.raises(TypeError, match="confused returned str"):
        await hooks(pre_tool=confused).pre_tool[0].run(CALL)


def test_what_cannot_be_a_hook_is_refused_at_once() -> None:
    def plain(call: ToolCall) -> None:
        del call

    with pytest.raises(TypeError, match="plain is no async function"):
        hooks(pre_tool=plain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nothing has to take 2 arguments"):
        hooks(post_tool=nothing)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes no timeout"):
        hooks(pre_tool=nothing, timeout=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="some time"):
        hooks(pre_tool=nothing, timeout_s=0)
    with pytest.raises(ValueError, match="ignore or abort"):
        hooks(pre_tool=nothing, on_error="explode")  # type: ignore[arg-type]
