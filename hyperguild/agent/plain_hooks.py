"""Makes hooks of plain async functions, for programs that use the library."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack

from hyperguild.agent.hooks import AfterStep, BeforeStep, Denied, Hook, Hooks, OnStop, PostTool, PreTool
from hyperguild.domain.tools import ToolCall, ToolResult

F = TypeVar("F", bound=Callable[..., Any])

OneOrMany: TypeAlias = F | Sequence[F]

PreToolFunction = Callable[[ToolCall], Awaitable[ToolCall | Mapping[str, Any] | Denied | None]]
"""As `PreTool`; a mapping stands for the call with these arguments."""

PostToolFunction = Callable[[ToolCall, ToolResult], Awaitable[ToolResult | str | None]]
"""As `PostTool`; a text stands for the result with this text."""


class HookTerms(TypedDict, total=False):
    """The terms of hooks, as in `agent.hooks.Hook`; `tools` is one glob of tool names, or several."""

    tools: str | Sequence[str]
    timeout_s: float
    fail_open: bool
    on_error: Literal["ignore", "abort"]


def hooks(
    *,
    pre_tool: OneOrMany[PreToolFunction] = (),
    post_tool: OneOrMany[PostToolFunction] = (),
    before_step: OneOrMany[BeforeStep] = (),
    after_step: OneOrMany[AfterStep] = (),
    stop: OneOrMany[OnStop] = (),
    **terms: Unpack[HookTerms],
) -> Hooks:
    """Return the hooks that these async functions are, each one function or several, in their order.

    `pre_tool(call)` sees a call before it is checked and executed: it may return other arguments, or
    `Denied("why")`. `post_tool(call, result)` may return another text. `before_step(messages)` may return the
    messages to go on with, `after_step(completion, messages, control)` steers by `control`, `stop(answer)`
    may return a text that is put to the model instead of ending. None leaves everything as it is. The `terms`
    hold for all of them: seconds that each may take, what an error does, and for which tools.

    Raises `TypeError` for what is not an async function of so many parameters, `ValueError` for terms that
    cannot be.
    """
    made = _terms(terms)
    return Hooks(
        pre_tool=tuple(_pre_tool(one, made) for one in _listed(pre_tool, "pre_tool", 1)),
        post_tool=tuple(_post_tool(one, made) for one in _listed(post_tool, "post_tool", 2)),
        before_step=tuple(
            replace(made, run=one, name=_name(one)) for one in _listed(before_step, "before_step", 1)
        ),
        after_step=tuple(
            replace(made, run=one, name=_name(one)) for one in _listed(after_step, "after_step", 3)
        ),
        stop=tuple(replace(made, run=one, name=_name(one)) for one in _listed(stop, "stop", 1)),
    )


def _terms(given: HookTerms) -> Hook[Any]:
    """Return a hook that does nothing, on these terms."""
    unknown = given.keys() - HookTerms.__annotations__.keys()
    if unknown:
        raise TypeError(f"hooks() takes no {', '.join(sorted(unknown))}")
    tools = given.get("tools", "*")
    made: Hook[Any] = Hook(None, "", (tools,) if isinstance(tools, str) else tuple(tools))
    made = replace(
        made,
        timeout_s=given.get("timeout_s", made.timeout_s),
        fail_open=given.get("fail_open", made.fail_open),
        on_error=given.get("on_error", made.on_error),
    )
    if not made.timeout_s > 0:
        raise ValueError(f"timeout_s is {made.timeout_s}: a hook needs some time")
    if made.on_error not in {"ignore", "abort"}:
        raise ValueError(f"on_error is {made.on_error!r}: it is ignore or abort")
    return made


def _listed(given: OneOrMany[F], kind: str, takes: int) -> tuple[F, ...]:
    functions = tuple(given) if isinstance(given, Sequence) else (given,)
    for function in functions:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{kind}: {_name(function)} is no async function")
        try:
            inspect.signature(function).bind(*[None] * takes)
        except TypeError as error:
            raise TypeError(f"{kind}: {_name(function)} has to take {takes} arguments: {error}") from error
    return functions


def _name(function: object) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _pre_tool(function: PreToolFunction, terms: Hook[Any]) -> Hook[PreTool]:
    @functools.wraps(function)
    async def run(call: ToolCall) -> ToolCall | Denied | None:
        said = await function(call)
        if isinstance(said, Mapping):
            arguments = dict(said)
            return replace(call, arguments=arguments, raw=json.dumps(arguments, ensure_ascii=False), fault="")
        return _one_of(said, (ToolCall, Denied), function)

    return replace(terms, run=run, name=_name(function))


def _post_tool(function: PostToolFunction, terms: Hook[Any]) -> Hook[PostTool]:
    @functools.wraps(function)
    async def run(call: ToolCall, result: ToolResult) -> ToolResult | None:
        said = await function(call, result)
        if isinstance(said, str):
            return replace(result, text=said)
        return _one_of(said, (ToolResult,), function)

    return replace(terms, run=run, name=_name(function))


T = TypeVar("T")


def _one_of(said: T, kinds: tuple[type, ...], function: object) -> T:
    """Return what a hook said; raises `TypeError`, which is the hook's own error, where it means nothing."""
    if said is None or isinstance(said, kinds):
        return said
    raise TypeError(f"the hook {_name(function)} returned {type(said).__name__}")
