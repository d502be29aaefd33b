"""Hooks that are programs: the `hooks` of chains.yaml, as the agent loop calls them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hyperguild.adapters.tools.hook_replies import (
    ReplyFault,
    call_after,
    messages_after,
    question_after,
    read_reply,
    result_after,
    steer,
    told_of_call,
    told_of_messages,
    told_of_result,
    told_of_step,
)
from hyperguild.agent.hooks import Control, Denied, Hook, HookError, Hooks
from hyperguild.domain.hooks import CommandHook, HookKind
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.text import cleaned, clipped_tail, one_line
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.programs.environment import WORKDIR, reduced_environment
from hyperguild.programs.find import ProgramNotFound, find_program
from hyperguild.programs.run import OutputLimit, ProgramEnd, run_program

REPLY_BYTES_MAX = 16 << 20
"""The largest answer: the messages of a window of a million tokens, with room for JSON's escapes."""

NAME_CHARS = 80
SAID_CHARS = 300

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where programs run and what they see."""

    environment: Mapping[str, str]
    folder: Path


def command_hooks(
    hooks: Mapping[HookKind, Sequence[CommandHook]],
    env: Mapping[str, str],
    folder: Path,
    workdir: Path | None = None,
) -> Hooks:
    """Return programs as hooks. They run without a shell in `folder`, that of chains.yaml; so are they found.

    What they are told and may answer stands in `hook_replies`. They see `env` reduced to what every program
    gets, and `HYPERGUILD_WORKDIR`, where tools work, if they do. A hook raises
    `HookError` where its program cannot be run, does not exit with 0, or answers what cannot be used; it has
    no time limit of its own (`Hook.timeout_s` is its caller's to enforce), and when it is cancelled its
    process group is killed.
    """
    told = {} if workdir is None else {WORKDIR: str(workdir)}
    place = _Place(reduced_environment(env) | told, folder)

    def made(kind: HookKind) -> list[tuple[_Program, dict[str, Any]]]:
        return [(_Program(kind, hook, place), _terms(hook)) for hook in hooks.get(kind, ())]

    return Hooks(
        pre_tool=tuple(Hook(program.pre_tool, **terms) for program, terms in made("pre_tool")),
        post_tool=tuple(Hook(program.post_tool, **terms) for program, terms in made("post_tool")),
        before_step=tuple(Hook(program.before_step, **terms) for program, terms in made("before_step")),
        after_step=tuple(Hook(program.after_step, **terms) for program, terms in made("after_step")),
        stop=tuple(Hook(program.stop, **terms) for program, terms in made("stop")),
    )


def _terms(hook: CommandHook) -> dict[str, Any]:
    return {
        "name": _name(hook),
        "tools": hook.tools,
        "timeout_s": hook.timeout_s,
        "fail_open": hook.fail_open,
        "on_error": hook.on_error,
    }


def _name(hook: CommandHook) -> str:
    return one_line(shlex.join(hook.argv), NAME_CHARS)


class _Program:
    """One program, run anew each time it is asked; safe to ask several times at once."""

    def __init__(self, kind: HookKind, hook: CommandHook, place: _Place) -> None:
        self._kind = kind
        self._argv = hook.argv
        self._who = f"the {kind} hook {_name(hook)}"
        self._place = place

    async def pre_tool(self, call: ToolCall) -> ToolCall | Denied | None:
        """Ask about a call that is to run."""
        return await self._ask(told_of_call(call), partial(call_after, call))

    async def post_tool(self, call: ToolCall, result: ToolResult) -> ToolResult | None:
        """Ask about the result of a call."""
        return await self._ask(told_of_result(call, result), partial(result_after, result))

    async def before_step(self, messages: tuple[Message, ...]) -> tuple[Message, ...] | None:
        """Ask what is to be sent."""
        return await self._ask(told_of_messages(messages), partial(messages_after, messages))

    async def after_step(
        self, completion: Completion, messages: tuple[Message, ...], control: Control
    ) -> None:
        """Ask what is to follow a step, and let `control` do it."""
        await self._ask(told_of_step(completion, messages), partial(steer, control, messages))

    async def stop(self, answer: str) -> str | None:
        """Ask whether an answer is the last word."""
        return await self._ask({"answer": answer}, question_after)

    async def _ask(self, told: Mapping[str, Any], read: Callable[[dict[str, Any]], R]) -> R:
        message = {"hook": self._kind, **told}
        end = await self._run(json.dumps(message, default=dict).encode("ascii"))
        if end.exit_code != 0:
            raise self._error(end.in_words(), end.stderr)
        if end.left_out:
            raise self._error(f"printed more than {REPLY_BYTES_MAX:,} bytes", end.stderr)
        try:
            return read(read_reply(end.head))
        except ReplyFault as fault:
            raise self._error(str(fault), end.stderr) from fault

    async def _run(self, stdin: bytes) -> ProgramEnd:
        place = self._place
        try:
            program = find_program(self._argv[0], place.folder, place.environment.get("PATH", os.defpath))
            return await run_program(
                [str(program), *self._argv[1:]],
                stdin=stdin,
                folder=place.folder,
                environment=place.environment,
                timeout_s=None,
                keep=OutputLimit(head_bytes=REPLY_BYTES_MAX, tail_bytes=0, stderr_tail_bytes=4 * SAID_CHARS),
            )
        except ProgramNotFound as error:
            remedy = f" ({error.hint})" if error.hint else ""
            raise self._error(f"{error}{remedy}") from error
        except (OSError, ValueError) as error:  # no interpreter, wrong format, NUL bytes in argv
            raise self._error(f"cannot be run: {error}") from error

    def _error(self, fault: str, stderr: bytes = b"") -> HookError:
        said = " ".join(cleaned(stderr.decode("utf-8", "replace")).split())
        tail = f"; it said: {clipped_tail(said, SAID_CHARS)}" if said else ""
        return HookError(f"{self._who}: {fault}{tail}")
