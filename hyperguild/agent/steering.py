"""Calls the hooks of an attempt, and carries out what they decide."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from hyperguild.agent.hooks import Denied, Hook, HookError, Hooks
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.text import encodable, one_line
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.errors import CommandError

FAULT_CHARS = 300

F = TypeVar("F")
T = TypeVar("T")

Tell = Callable[[str], None]
"""Takes a line for a person: a hook failed."""

Generate = Callable[[str, Sequence[Message]], Awaitable[Completion]]


class _Failed(Exception):
    """A hook raised, took too long, or gave what it may not give; the message says so in one line."""


@dataclass(slots=True)
class Decision:
    """What the `after_step` hooks of one step want: implements `hooks.Control`."""

    ask: Generate
    appended: list[Message] = field(default_factory=list)
    replaced: tuple[Message, ...] | None = None
    stops: bool = False
    goes_on: bool = False

    def append(self, *messages: Message) -> None:
        """See `Control`."""
        self.appended += messages

    def replace(self, messages: Sequence[Message]) -> None:
        """See `Control`."""
        self.replaced = tuple(messages)
        self.appended.clear()

    def stop(self) -> None:
        """See `Control`."""
        self.stops, self.goes_on = True, False

    def continue_(self) -> None:
        """See `Control`."""
        self.stops, self.goes_on = False, True

    async def generate(self, model: str, messages: Sequence[Message]) -> Completion:
        """See `Control`."""
        return await self.ask(model, messages)


class Steering:
    """The hooks of one attempt. Cancelling stops the hook under way and passes on.

    `left_s` gives the seconds that the attempt has left, None for any number: no hook takes longer.
    """

    def __init__(self, hooks: Hooks, tell: Tell, left_s: Callable[[], float | None]) -> None:
        self._hooks = hooks
        self._tell = tell
        self._left_s = left_s

    async def before_step(self, transcript: tuple[Message, ...]) -> tuple[Message, ...] | None:
        """Return the messages that go in the place of the transcript; None where it stays.

        Raises `CommandError` where a hook failed that may not.
        """
        changed: tuple[Message, ...] | None = None
        for hook in self._hooks.before_step:
            shown = transcript if changed is None else changed
            returned = await self._passed_over(hook, partial(_some, partial(hook.run, shown)))
            if returned is not None and tuple(returned) != shown:
                changed = tuple(returned)
        return changed

    async def after_step(
        self, completion: Completion, transcript: tuple[Message, ...], ask: Generate
    ) -> Decision:
        """Return what the hooks want after a step. Raises `CommandError` where one failed that may not."""
        decision = Decision(ask)
        for hook in self._hooks.after_step:
            # what a hook that fails had begun is void
            own = replace(decision, appended=list(decision.appended))
            run = partial(hook.run, completion, transcript, own)
            if await self._passed_over(hook, partial(_decided, run, own)):
                decision = own
        return decision

    async def on_stop(self, answer: str) -> str | None:
        """Return what the model is told instead of ending; None where it may end. Raises as `after_step`."""
        told = []
        for hook in self._hooks.stop:
            text = await self._passed_over(hook, partial(_said, partial(hook.run, answer)))
            if text:
                told.append(encodable(text))
        return "\n\n".join(told) or None

    async def pre_tool(self, call: ToolCall) -> ToolCall | Denied:
        """Return the call as it is to be checked and executed, or why it may not be."""
        for hook in self._hooks.pre_tool:
            if not _concerns(hook, call):
                continue
            try:
                said = await self._run(hook, partial(_steered, partial(hook.run, call)))
            except _Failed as failure:
                self._tell(str(failure))
                if hook.fail_open:
                    continue
                return Denied(f"denied: {failure}")
            if isinstance(said, Denied):
                return said
            if said is not None:
                call = replace(call, arguments=said.arguments, raw=said.raw)
        return call

    def sees_first(self, tool: str) -> bool:
        """Tell whether a hook sees the calls of a tool before they are checked."""
        return any(fnmatchcase(tool, glob) for hook in self._hooks.pre_tool for glob in hook.tools)

    async def post_tool(self, call: ToolCall, result: ToolResult) -> ToolResult:
        """Return the result as the model is told."""
        for hook in self._hooks.post_tool:
            if not _concerns(hook, call):
                continue
            try:
                said = await self._run(hook, partial(_rewritten, partial(hook.run, call, result)))
            except _Failed as failure:
                self._tell(str(failure))
                if hook.fail_open:
                    continue
                return replace(result, text=f"the result is withheld: {failure}", is_error=True)
            if said is not None:
                result = replace(result, text=encodable(said.text), is_error=said.is_error)
        return result

    async def _passed_over(self, hook: Hook[F], run: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await self._run(hook, run)
        except _Failed as failure:
            self._tell(str(failure))
            if hook.on_error == "abort":
                raise CommandError(str(failure), retryable=False) from failure
            return None

    async def _run(self, hook: Hook[Any], run: Callable[[], Awaitable[T]]) -> T:
        """Await a hook within its time. Raises `_Failed`."""
        left_s = self._left_s()
        limit = asyncio.timeout(hook.timeout_s if left_s is None else min(hook.timeout_s, max(left_s, 0.0)))
        try:
            async with limit:
                return await run()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise _Failed(
                f"the hook {hook.name} gave up"
            ) from None  # what it waited for was cancelled, not we
        except HookError as error:  # it names the hook, and is bounded
            raise _Failed(str(error)) from error
        except Exception as error:  # a hook is foreign code: its fault must not be ours
            if limit.expired() and isinstance(error, TimeoutError):
                raise _Failed(f"the hook {hook.name} did not finish within {hook.timeout_s:g} s") from error
            reason = one_line(str(error), FAULT_CHARS) or type(error).__name__
            raise _Failed(f"the hook {hook.name} failed: {reason}") from error


# What a hook gives is looked at within its own time and terms: a value that cannot be used is its fault.


async def _some(run: Callable[[], Awaitable[Sequence[Message] | None]]) -> tuple[Message, ...] | None:
    given = await run()
    if given is None:
        return None
    messages = tuple(given)
    if not messages:
        raise ValueError("it left no messages")
    _require_messages(messages)
    return messages


async def _decided(run: Callable[[], Awaitable[None]], decision: Decision) -> bool:
    await run()
    messages = (*(decision.replaced or ()), *decision.appended)
    if decision.replaced is not None and not messages:
        raise ValueError("it left no messages")
    _require_messages(messages)
    return True


async def _said(run: Callable[[], Awaitable[str | None]]) -> str | None:
    text = await run()
    return None if text is None else _of_type(text, str, "a text")


async def _steered(run: Callable[[], Awaitable[ToolCall | Denied | None]]) -> ToolCall | Denied | None:
    said = await run()
    if isinstance(said, Denied):
        _of_type(said.reason, str, "a reason")
    elif said is not None and _of_type(said, ToolCall, "a call").arguments is not None:
        json.dumps(_of_type(said.arguments, dict, "an object of arguments"), allow_nan=False)
    return said


async def _rewritten(run: Callable[[], Awaitable[ToolResult | None]]) -> ToolResult | None:
    said = await run()
    if said is not None:
        _of_type(_of_type(said, ToolResult, "a result").text, str, "a text")
        _of_type(said.is_error, bool, "true or false")
    return said


def _require_messages(messages: Sequence[object]) -> None:
    for message in messages:
        _of_type(_of_type(message, Message, "a message").text, str, "the text of a message")


def _of_type(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"it gave {type(value).__name__} for {what}")
    return value


def _concerns(hook: Hook[Any], call: ToolCall) -> bool:
    return any(fnmatchcase(call.name, glob) for glob in hook.tools)
