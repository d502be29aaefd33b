"""The raw form of `hooks:`. Each description becomes the help that editors show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from hyperguild.config.schema_agent import ToolGlob
from hyperguild.config.schema_parts import (
    TEXT_OR_TEXTS,
    Entry,
    Flag,
    Seconds,
    ShortFor,
    one_or_many,
    refused,
)
from hyperguild.config.wording import looks_like_key
from hyperguild.domain.hooks import HOOK_TIMEOUT_S


def _argument(value: str) -> str:
    if looks_like_key(value):
        raise refused("a secret in clear is refused; put it into a file that the program reads")
    return value


_Argument = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_argument)]
_Globs = Annotated[
    tuple[ToolGlob, ...],
    Field(min_length=1),
    BeforeValidator(one_or_many),
    WithJsonSchema(TEXT_OR_TEXTS),
]


class _AnyHook(Entry):
    argv: Annotated[tuple[_Argument, ...], Field(min_length=1)] = Field(
        description="The program, from the folder of chains.yaml, and its arguments, as a list; it gets a "
        "JSON object on standard input and may print one."
    )
    timeout_s: Seconds = Field(HOOK_TIMEOUT_S, description="Seconds that it may take.")


class ToolHook(_AnyHook):
    """A program that is asked about calls of tools."""

    tools: _Globs = Field(("*",), description="The tools it is asked about: a glob of names, or a list.")
    fail_open: Flag = Field(
        False, description="Whether a call, or its result, passes where the program fails; else it does not."
    )


class StepHook(_AnyHook):
    """A program that sees the transcript, or the final answer."""

    on_error: Literal["ignore", "abort"] = Field(
        "ignore", description="Where the program fails: go on without it, or abort the attempt."
    )


_ToolHooks = tuple[Annotated[ToolHook, ShortFor("argv", (list,))], ...]
_StepHooks = tuple[Annotated[StepHook, ShortFor("argv", (list,))], ...]


class Hooks(Entry):
    """Programs that see what attempts do, and may change it; those of a kind run in the order given."""

    pre_tool: _ToolHooks = Field(
        (), description="Before a call runs: may deny it, or rewrite its arguments; they are checked after."
    )
    post_tool: _ToolHooks = Field((), description="After a call has run: may rewrite its result.")
    before_step: _StepHooks = Field((), description="Before each step: may replace the transcript.")
    after_step: _StepHooks = Field(
        (), description="After each step and its tools: may add messages, stop the attempt, or go on."
    )
    stop: _StepHooks = Field(
        (), description="Before an attempt ends with its answer: may put more to the model."
    )
