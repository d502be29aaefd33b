"""Hooks that are programs: real ones, in a folder of their own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from shells import becomes

from hyperguild.adapters.tools.command_hooks import REPLY_BYTES_MAX, command_hooks
from hyperguild.agent.hooks import NO_HOOKS, Denied, Hook, HookError, Hooks
from hyperguild.agent.steering import Steering
from hyperguild.domain.hooks import CommandHook, HookKind
from hyperguild.domain.message_records import as_record
from hyperguild.domain.messages import Completion, Image, Message, Verbatim
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage
from hyperguild.errors import CommandError

CALL = ToolCall("1", "shell", {"command": "rm -r größer"}, '{"command":"rm -r größer"}')
RESULT = ToolResult("1", "shell", "done\nin full", False)
TRANSCRIPT = (
    Message("system", "Be brief."),
    Message("user", "What is this?", images=(Image("image/png", "AAAA"),)),
    Message("assistant", "", tool_calls=(CALL,), verbatim=Verbatim("claude", ({"type": "thinking"},))),
    Message.of_result(RESULT),
)
COMPLETION = Completion("so far", "tool_calls", Usage(), 5, (CALL,))


@dataclass
class Steered:
    """Writes down what a hook makes of its control."""

    did: list[Any] = field(default_factory=list)

    def append(self, *messages: Message) -> None:
        self.did.append(("append", messages))

    def replace(self, messages: Sequence[Message]) -> None:
        self.did.append(("replace", tuple(messages)))

    def stop(self) -> None:
        self.did.append("stop")

    def continue_(self) -> None:
        self.did.append("continue")

    async def generate(self, model: str, messages: Sequence[Message]) -> Completion:
        raise NotImplementedError


class Program:
    """Hooks of one program, whose body is Python; what it is told is in `told`."""

    def __init__(self, folder: Path, body: str, env: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        script = folder / "scripts" / "hook"
        script.parent.mkdir(exist_ok=True)
        head = f"#!{sys.executable}\nimport json, os, sys, time\ndef say(it): print(json.dumps(it))\n"
        script.write_text(head + body, encoding="utf-8")
        script.chmod(0o700)
        hook = CommandHook(("scripts/hook", "an argument"))
        kinds: tuple[HookKind, ...] = ("pre_tool", "post_tool", "before_step", "after_step", "stop")
        self._hooks = command_hooks({kind: [hook] for kind in kinds}, env or os.environ, folder)

    @property
    def told(self) -> Any:
        return json.loads((self._folder / "told").read_text(encoding="ascii"))

    async def pre_tool(self, call: ToolCall = CALL) -> ToolCall | Denied | None:
        return await self._hooks.pre_tool[0].run(call)

    async def post_tool(self) -> ToolResult | None:
        return await self._hooks.post_tool[0].run(CALL, RESULT)

    async def before_step(self) -> Sequence[Message] | None:
        return await self._hooks.before_step[0].run(TRANSCRIPT)

    async def after_step(self) -> list[Any]:
        control = Steered()
        await self._hooks.after_step[0].run(COMPLETION, TRANSCRIPT, control)
        return control.did

    async def stop(self) -> str | None:
        return await self._hooks.stop[0].run("the answer")

    async def ask(self, kind: str) -> Any:
        return await getattr(self, kind)()


KEEP = "told = sys.stdin.read(); open('told', 'w').write(told); told = json.loads(told)\n"
EVERY_KIND = ["pre_tool", "post_tool", "before_step", "after_step", "stop"]


async def fault_of(program: Program, kind: str = "pre_tool") -> str:
    with pytest.raises(HookError) as caught:
        await program.ask(kind)
    return str(caught.value).removeprefix(f"the {kind} hook scripts/hook 'an argument': ")


async def test_c7_a_command_denies_a_call(tmp_path: Path) -> None:
    program = Program(tmp_path, KEEP + "say({'deny': 'not ' + told['call']['arguments']['command']})")
    assert await program.pre_tool() == Denied("not rm -r größer")
    call = {"id": "1", "name": "shell", "arguments": {"command": "rm -r größer"}}
    assert program.told == {"hook": "pre_tool", "call": call}
    assert await Program(tmp_path, "say({'deny': ''})").pre_tool() == Denied("no reason was given")


async def test_c7_a_command_rewrites_arguments(tmp_path: Path) -> None:
    program = Program(tmp_path, KEEP + "say({'arguments': {'command': 'ls ü'}})")
    expected = ToolCall("1", "shell", {"command": "ls ü"}, '{"command": "ls ü"}')
    assert await program.pre_tool() == expected
    assert await program.pre_tool(ToolCall("1", "shell", None, "{", "broken")) == expected
    broken = {"id": "1", "name": "shell", "arguments": None, "raw": "{", "fault": "broken"}
    assert program.told["call"] == broken


async def test_c7_a_command_rewrites_a_result(tmp_path: Path) -> None:
    program = Program(tmp_path, KEEP + "say({'text': told['result']['text'].upper()})")
    assert await program.post_tool() == ToolResult("1", "shell", "DONE\nIN FULL", False)
    assert program.told["result"] == {"text": "done\nin full", "is_error": False}
    assert program.told["call"]["name"] == "shell"
    failed = Program(tmp_path, r"say({'text': 'half \ud83d', 'is_error': True})")
    assert await failed.post_tool() == ToolResult("1", "shell", "half ?", True)
    assert await Program(tmp_path, "say({'is_error': True})").post_tool() == ToolResult(
        "1", "shell", "done\nin full", True
    )


async def test_d0_a_command_replaces_the_messages_and_what_it_left_alone_stays_whole(tmp_path: Path) -> None:
    body = "kept = told['messages'][:2]; kept[0]['content'] = 'Be long.'; say({'messages': kept})"
    program = Program(tmp_path, KEEP + body)
    assert await program.before_step() == (Message("system", "Be long."), TRANSCRIPT[1])
    assert program.told == {
        "hook": "before_step",
        "messages": json.loads(json.dumps([as_record(message) for message in TRANSCRIPT])),
    }
    assert await Program(tmp_path, KEEP + "say({'messages': told['messages'] * 2})").before_step() == (
        *TRANSCRIPT,
        *TRANSCRIPT,
    )


async def test_d1_a_command_sees_the_step_and_the_transcript(tmp_path: Path) -> None:
    program = Program(tmp_path, KEEP)
    assert await program.after_step() == []
    call = {"id": "1", "name": "shell", "arguments": {"command": "rm -r größer"}}
    done = {"text": "so far", "finish_reason": "tool_calls", "tool_calls": [call]}
    assert program.told["completion"] == done
    assert len(program.told["messages"]) == len(TRANSCRIPT)


@pytest.mark.parametrize(
    ("reply", "did"),
    [
        ({"append": [{"role": "user", "content": "Look again."}]},
         [("append", (Message("user", "Look again."),))]),
        ({"append": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
          "action": "continue"},
         [("append", (Message("user", "a"), Message("system", "b"))), "continue"]),
        ({"messages": [{"role": "system", "content": "Be brief."}], "action": "stop"},
         [("replace", (Message("system", "Be brief."),)), "stop"]),
        ({"action": "stop"}, ["stop"]),
        ({"action": "continue"}, ["continue"]),
    ],
)  # fmt: skip
async def test_d2_a_command_steers(tmp_path: Path, reply: dict[str, Any], did: list[Any]) -> None:
    assert await Program(tmp_path, f"say({reply})").after_step() == did


async def test_c7_a_command_puts_more_to_the_model_instead_of_stopping(tmp_path: Path) -> None:
    program = Program(tmp_path, KEEP + "say({'continue': 'Run the tests.'})")
    assert await program.stop() == "Run the tests."
    assert program.told == {"hook": "stop", "answer": "the answer"}


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("body", ["", "say({})", "print(' \\n')", "sys.stdin.close(); say({})"])
async def test_c7_nothing_and_an_empty_object_change_nothing(tmp_path: Path, kind: str, body: str) -> None:
    assert not await Program(tmp_path, body).ask(kind)


async def test_c7_input_that_is_not_read_does_no_harm(tmp_path: Path) -> None:
    program = Program(tmp_path, "say({'deny': 'no'})")
    large = ToolCall("1", "fs_write", {"content": "x" * 3_000_000})
    assert await program.pre_tool(large) == Denied("no")


@pytest.mark.parametrize(
    ("kind", "reply", "fault"),
    [
        ("pre_tool", '{"denied": "x"}', 'printed an unknown key "denied"; did it mean "deny"?'),
        ("pre_tool", '{"ok": 1}', 'printed an unknown key "ok"; known: deny, arguments'),
        ("pre_tool", '{"deny": true}', "printed a wrong deny: it must be text"),
        ("pre_tool", '{"arguments": "ls"}', "printed a wrong arguments: it must be an object"),
        ("pre_tool", '{"deny": "x", "arguments": {}}', "printed deny and arguments; only one of them can be"),
        ("post_tool", '{"text": 1}', "printed a wrong text: it must be text"),
        ("post_tool", '{"is_error": "no"}', "printed a wrong is_error: it must be true or false"),
        ("before_step", '{"messages": {}}', "printed a wrong messages: it must be a list"),
        ("before_step", '{"messages": []}', "printed an empty list of messages"),
        ("before_step", '{"messages": ["x"]}', "printed no message: messages.0 must be an object"),
        ("before_step", '{"messages": [{"role": "user"}]}',
         "printed no message: messages.0: content: required"),
        ("after_step", '{"append": [], "messages": []}',
         "printed append and messages; only one of them can be"),
        ("after_step", '{"append": [{"role": "tool", "content": "x"}], "action": "stop"}',
         "printed no message: append.0: tool_call_id: required"),
        ("after_step", '{"append": [{"role": "user", "content": "x"}], "action": "stpo"}',
         'printed an action that is neither "stop" nor "continue"'),
        ("after_step", '{"action": null}', 'printed an action that is neither "stop" nor "continue"'),
        ("stop", '{"continue": true}', "printed a wrong continue: it must be text"),
        ("stop", '{"continue": " "}', "printed an empty continue"),
        ("stop", "[]", "printed what is no JSON object: []"),
        ("stop", '{"continue": NaN}', 'printed what is no JSON object: {"continue": NaN}'),
        ("stop", "ok \x1b[31m" + "x" * 100, "printed what is no JSON object: ok " + "x" * 76 + "…"),
        ("stop", "{}{}", "printed what is no JSON object: {}{}"),
        ("stop", "[" * 100_000, "printed what is no JSON object: " + "[" * 79 + "…"),
    ],
)  # fmt: skip
async def test_c7_what_a_command_must_not_answer(tmp_path: Path, kind: str, reply: str, fault: str) -> None:
    assert await fault_of(Program(tmp_path, f"print({reply!r})"), kind) == fault


async def test_d2_nothing_of_a_wrong_answer_counts(tmp_path: Path) -> None:
    reply = {"append": [{"role": "user", "content": "x"}, {"role": "user"}], "action": "stop"}
    hooks = command_hooks({"after_step": [CommandHook(("echo", json.dumps(reply)))]}, os.environ, tmp_path)
    control = Steered()
    with pytest.raises(HookError, match=r"append\.1: content: required"):
        await hooks.after_step[0].run(COMPLETION, TRANSCRIPT, control)
    assert control.did == []


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_c7_a_crash_is_told_with_the_end_of_stderr(tmp_path: Path, kind: str) -> None:
    program = Program(tmp_path, "say({}); raise ValueError('x' * 5000 + '\\nboom \\x1b[31m')")
    fault = await fault_of(program, kind)
    assert fault.startswith("exited with 1; it said: …xxx")
    assert fault.endswith("x boom")
    assert len(fault) < 400


async def test_c7_stderr_is_no_part_of_the_answer(tmp_path: Path) -> None:
    body = "print('a word', file=sys.stderr, flush=True); say({'deny': 'no'}); print('more', file=sys.stderr)"
    assert await Program(tmp_path, body).pre_tool() == Denied("no")
    wrong = Program(tmp_path, "print('a word', file=sys.stderr); print('junk')")
    assert await fault_of(wrong) == "printed what is no JSON object: junk; it said: a word"


async def test_c7_a_command_that_is_killed_or_silent_is_a_fault(tmp_path: Path) -> None:
    assert await fault_of(Program(tmp_path, "os.kill(os.getpid(), 9)")) == "was killed by SIGKILL"
    assert await fault_of(Program(tmp_path, "sys.exit(3)")) == "exited with 3"


async def test_c7_an_answer_that_is_no_utf8_is_a_fault(tmp_path: Path) -> None:
    program = Program(tmp_path, r"""sys.stdout.buffer.write(b'{"deny": "\xff"}')""")
    assert await fault_of(program) == "printed what is no UTF-8"


async def test_c7_an_answer_without_end_is_a_fault_and_takes_no_more_memory(tmp_path: Path) -> None:
    program = Program(tmp_path, f"sys.stdout.write(' ' * {REPLY_BYTES_MAX}); say({{'deny': 'x'}})")
    assert await fault_of(program) == "printed more than 16,777,216 bytes"


async def test_c7_a_command_that_cannot_run_is_a_fault(tmp_path: Path) -> None:
    program = Program(tmp_path, "")
    (tmp_path / "scripts/hook").write_bytes(b"\x7fELF")
    assert (await fault_of(program)).startswith("cannot be run: ")
    (tmp_path / "scripts/hook").chmod(0o600)
    path = tmp_path / "scripts/hook"
    assert await fault_of(program) == f"is not executable: {path} (chmod +x {path})"
    path.unlink()
    assert await fault_of(program) == f"not found: {path}"


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_c7_a_command_ends_with_all_it_started_when_its_time_is_up(tmp_path: Path, kind: str) -> None:
    mark = f"301.{EVERY_KIND.index(kind)}771"
    program = Program(tmp_path, f"import subprocess; subprocess.run(['sh', '-c', 'sleep {mark}; true'])")
    asking = asyncio.create_task(program.ask(kind))
    assert await becomes(1, mark)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asking
    assert await becomes(0, mark)


async def test_c7_a_command_sees_a_reduced_environment_and_the_folder(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/home/me", "LC_ALL": "C", "ANTHROPIC_API_KEY": "hunter2"}
    program = Program(
        tmp_path, "say({'deny': json.dumps([dict(os.environ), os.getcwd(), sys.argv[1:]])})", env
    )
    answer = await program.pre_tool()
    assert isinstance(answer, Denied)
    seen, folder, arguments = json.loads(answer.reason)
    assert seen["HOME"] == "/home/me"
    assert "hunter2" not in seen.values()
    assert folder.endswith(tmp_path.name)
    assert arguments == ["an argument"]


def crashing(tmp_path: Path, **terms: Any) -> CommandHook:
    script = tmp_path / "crash"
    script.write_text("#!/bin/sh\necho boom >&2; exit 3\n", encoding="utf-8")
    script.chmod(0o700)
    return CommandHook(("./crash",), **terms)


def quiet(_line: str) -> None:
    """Tell nobody."""


async def test_c7_a_command_that_fails_denies_unless_it_is_fail_open(tmp_path: Path) -> None:
    fault = "the pre_tool hook ./crash: exited with 3; it said: boom"
    told: list[str] = []
    for terms, expected in (
        ({}, Denied(f"denied: {fault}")),
        ({"fail_open": True}, CALL),
        ({"tools": ("fs_*",)}, CALL),
    ):
        hooks = command_hooks({"pre_tool": [crashing(tmp_path, **terms)]}, os.environ, tmp_path)
        assert await Steering(hooks, told.append, lambda: None).pre_tool(CALL) == expected
    assert told == [fault, fault]


async def test_c7_a_command_that_fails_withholds_the_result_unless_it_is_fail_open(tmp_path: Path) -> None:
    hooks = command_hooks({"post_tool": [crashing(tmp_path)]}, os.environ, tmp_path)
    result = await Steering(hooks, quiet, lambda: None).post_tool(CALL, RESULT)
    assert result.is_error
    assert result.text == "the result is withheld: the post_tool hook ./crash: exited with 3; it said: boom"
    hooks = command_hooks({"post_tool": [crashing(tmp_path, fail_open=True)]}, os.environ, tmp_path)
    assert await Steering(hooks, quiet, lambda: None).post_tool(CALL, RESULT) == RESULT


async def test_d3_a_command_that_fails_is_passed_over_or_aborts(tmp_path: Path) -> None:
    fault = "the stop hook ./crash: exited with 3; it said: boom"
    told: list[str] = []
    hooks = command_hooks({"stop": [crashing(tmp_path)]}, os.environ, tmp_path)
    assert await Steering(hooks, told.append, lambda: None).on_stop("answer") is None
    assert told == [fault]
    hooks = command_hooks({"stop": [crashing(tmp_path, on_error="abort")]}, os.environ, tmp_path)
    with pytest.raises(CommandError, match=f"^{re.escape(fault)}$"):
        await Steering(hooks, quiet, lambda: None).on_stop("answer")


async def test_c7_a_command_that_takes_too_long_denies_and_is_killed(tmp_path: Path) -> None:
    mark = "302.1771"
    slow = CommandHook(("sh", "-c", f"sleep {mark}; true"), timeout_s=0.2)
    hooks = command_hooks({"pre_tool": [slow]}, os.environ, tmp_path)
    denied = await Steering(hooks, quiet, lambda: None).pre_tool(CALL)
    assert isinstance(denied, Denied)
    assert denied.reason.endswith("did not finish within 0.2 s")
    assert await becomes(0, mark)


def test_c7_the_terms_of_each_hook_are_its_callers_to_keep(tmp_path: Path) -> None:
    guard = CommandHook(("scripts/guard", "--strict"), ("shell",), timeout_s=5.0, fail_open=True)
    last = CommandHook(("c",), on_error="abort")
    hooks = command_hooks({"pre_tool": [guard, CommandHook(("b",))], "stop": [last]}, {}, tmp_path)
    first, second = hooks.pre_tool
    assert terms(first) == ("scripts/guard --strict", ("shell",), 5.0, True, "ignore")
    assert terms(second) == ("b", ("*",), 30.0, False, "ignore")
    assert [terms(hook) for hook in hooks.stop] == [("c", ("*",), 30.0, False, "abort")]
    assert (hooks.post_tool, hooks.before_step, hooks.after_step) == ((), (), ())
    assert command_hooks({}, {}, tmp_path) == NO_HOOKS == Hooks()


def terms(hook: Hook[Any]) -> tuple[Any, ...]:
    return hook.name, hook.tools, hook.timeout_s, hook.fail_open, hook.on_error
