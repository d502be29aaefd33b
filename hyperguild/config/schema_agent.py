"""The raw form of `agent:`: how attempts may work. Each description becomes the help that editors show."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from hyperguild.config.schema_parts import (
    TEXT,
    Entry,
    Flag,
    Number,
    Seconds,
    WholeNumber,
    one_or_many,
    refused,
)
from hyperguild.config.wording import did_you_mean, looks_like_key, quoted
from hyperguild.domain.agent import DEFAULT_MAX_STEPS, PermissionMode, TwoStageMode, Workspace
from hyperguild.skills.tool_names import NATIVE_TOOLS, native_tool_name

MAX_STEPS = 1000
MAX_RULE_CHARS = 1000
"""Long command lines have their place in scripts, not in rules."""

_TOOL_GLOB = re.compile(r"[A-Za-z0-9_*?-]{1,200}")


def _steps(value: Any) -> Any:
    if type(value) is int and value == 0:
        raise refused("0 is refused: name the most steps an attempt may take")
    return value


def _named_here(name: str) -> None:
    """Refuse other agents' names of tools and slips in built-in ones: they would never match anything.

    Names with `_` are left alone, unless it is that of `fs_`: servers' tools are called `SERVER_tool`.
    """
    own = native_tool_name(name)
    hint = ""
    if own != name:
        hint = f"; did you mean {quoted(own)}?"
    elif name not in NATIVE_TOOLS and not set("*?") & set(name):
        hint = did_you_mean(name, NATIVE_TOOLS) if name.startswith("fs_") or "_" not in name else ""
    if hint:
        raise refused(f"no tool bears this name here{hint}")


def _tool_glob(value: str) -> str:
    if not _TOOL_GLOB.fullmatch(value):
        raise refused(
            "must be the name of a tool, or a glob over names with * and ?; arguments are a matter of rules"
        )
    _named_here(value)
    return value


def _rule(value: str) -> str:
    from hyperguild.agent.rules import RuleFault, parse_rule  # noqa: PLC0415  # start-up

    if looks_like_key(value):
        raise refused("a secret in clear is refused; a * can stand for it")
    try:
        rule = parse_rule(value)
    except RuleFault as fault:
        raise refused(str(fault)) from fault
    _named_here(rule.tool)
    return value


ToolGlob = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_tool_glob)]
ToolGlobs = Annotated[
    tuple[ToolGlob, ...],
    BeforeValidator(one_or_many),
    WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}),
]
SkillNames = Annotated[
    tuple[Annotated[str, Strict(), Field(min_length=1, max_length=64)], ...],
    BeforeValidator(one_or_many),
    WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}),
]
RuleTexts = tuple[
    Annotated[str, Strict(), Field(min_length=1, max_length=MAX_RULE_CHARS), AfterValidator(_rule)], ...
]


class PermissionRules(Entry):
    """Rules such as shell(git:*) and fs_write(src/**); deny wins over ask, and ask over allow."""

    allow: RuleTexts = Field((), description="Calls that run without asking.")
    ask: RuleTexts = Field((), description="Calls that are asked about, in any mode.")
    deny: RuleTexts = Field((), description="Calls that never run, in any mode.")


class Agent(Entry):
    """How attempts may work: their bounds, and what their tools may do."""

    max_steps: Annotated[WholeNumber, Field(ge=1, le=MAX_STEPS), BeforeValidator(_steps)] = Field(
        DEFAULT_MAX_STEPS, description="Model calls of one attempt, 1 to 1000."
    )
    tools: ToolGlobs | None = Field(
        None,
        description="Tools that are offered: a glob of names, or a list; null: what the skill asks for.",
    )
    permission_mode: PermissionMode = Field(
        "default",
        description="What becomes of a call that no rule decides. deny: nothing runs; plan: only what reads; "
        "default: each is asked about; accept_edits: reads and file writes run, the rest is asked about; "
        "auto: reads run, the rest is asked about; bypass: everything runs.",
    )
    rules: PermissionRules = Field(
        PermissionRules(), description="What runs, is asked about, and never runs, by tool and arguments."
    )
    two_stage: TwoStageMode = Field(
        "auto", description="Whether the model first picks a kind of tools, then sees just those."
    )
    compact_at: Annotated[Number, Field(ge=10, le=100)] = Field(
        70.0, description="Percent of the window from which on old steps are summed up; 100: never."
    )
    tool_timeout_s: Seconds = Field(120.0, description="Seconds that one call of a tool may take.")
    workspace: Workspace = Field(
        "shared",
        description="Where tools work. shared: in the work directory; worktree: in a git worktree for each "
        "attempt, of which only the accepted one's changes reach the work directory.",
    )
    delegate: SkillNames = Field(
        (), description="Skills that this one may hand tasks to: a name, or a list; they run at once."
    )
    speculate_results: Flag = Field(
        False, description="Whether the next step begins on results that tools offer before they are certain."
    )
