"""May this call be executed? Deny rules, then the safety list, ask rules, allow rules, then the mode. Pure.

The caller asks with the call's final arguments, each time before it executes or speculates, and with the
paths that the call leads to once links are followed. This is no boundary for `shell`: it holds a model to
what the user permits, a sandbox holds a program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from hyperguild.agent.command_line import CommandLine, read_command_line
from hyperguild.agent.rule_matching import (
    Subject,
    argument_texts,
    binding_rule,
    command_covered,
    covering_rule,
    inside_workdir,
    is_outside,
    normal_path,
)
from hyperguild.agent.rules import (
    FILE_READERS,
    FILE_WRITERS,
    NO_RULES,
    OWN_ROOTS,
    SHELL,
    CommandPattern,
    Rule,
    RuleFault,
    Rules,
    parse_rule,
)
from hyperguild.agent.safety_list import Access, ProtectedPath, protected_mention, protected_path
from hyperguild.agent.shell_reader import Redirection
from hyperguild.domain.agent import PermissionMode
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.skills.allowed_tools import AllowedTools

DenyCause = Literal[
    "not_listed", "not_in_skill", "not_offered", "arguments", "rule", "safety_list", "mode", "nobody_to_ask"
]

_DEVICES: Final = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty"})
_MOVES: Final = frozenset({"cd", "pushd", "popd"})
_LONGEST_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Allow:
    """It may run."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody must say yes; `reason` is for them."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deny:
    """It may not run; `reason` is for the model, one line."""

    reason: str
    cause: DenyCause


Decision = Allow | Ask | Deny


@dataclass(frozen=True, slots=True)
class ToolLimit:
    """The tools that may be offered at all: name globs, and rules for those limited to some arguments."""

    tools: tuple[str, ...]
    rules: tuple[tuple[str, Rule], ...] = ()


@dataclass(frozen=True, slots=True)
class PermissionContext:
    """What a decision depends on beside the call.

    `can_ask`: somebody is there to answer. `paths`: those the call touches, links followed, relative to the
    work directory, absolute outside it, or beginning with `skill:/` or `session:/`. `offered`: the tools of
    this step. `run_tools` and `skill_tools`: the limits of `--tools` and of the skill's `allowed-tools`. None
    where there is no limit. `workdir` and `opened` (folders that the user opened beside it) are absolute.
    """

    mode: PermissionMode
    rules: Rules = NO_RULES
    can_ask: bool = False
    paths: tuple[str, ...] = ()
    offered: frozenset[str] | None = None
    run_tools: ToolLimit | None = None
    skill_tools: ToolLimit | None = None
    workdir: str = ""
    opened: tuple[str, ...] = ()


def tool_limit(allowed: AllowedTools) -> ToolLimit:
    """Read a list of tools as a limit. A pattern that is not understood permits nothing of its tool."""
    rules: list[tuple[str, Rule]] = []
    for limited in allowed.patterns:
        try:
            rules.append((limited.tool, parse_rule(f"{limited.tool}({limited.pattern})")))
        except RuleFault:
            rules.append((limited.tool, Rule(limited.pattern, "")))
    return ToolLimit(allowed.tools, tuple(rules))


def decide_permission(call: ToolCall, spec: ToolSpec, context: PermissionContext) -> Decision:
    """Decide one call. Never raises, and never returns `Ask` where nobody is there to answer."""
    # Who offers a tool and executes it is not limited to the tools that are ours to offer.
    unavailable = None if spec.external else _unavailable(call.name, context)
    if unavailable is not None:
        return unavailable
    if call.arguments is None:
        return Deny(f'the arguments of "{call.name}" are not a JSON object: {call.fault}', "arguments")
    paths = tuple(inside_workdir(path, context.workdir) for path in context.paths)
    command = call.arguments.get("command")
    line = read_command_line(command) if call.name == SHELL and isinstance(command, str) else None
    subject = Subject(call.name, paths, call.arguments, line, context.workdir)
    decision = _decide(subject, spec, context)
    if isinstance(decision, Ask) and not context.can_ask:
        return Deny(f"{decision.reason}, and nobody is there to be asked", "nobody_to_ask")
    return decision


def path_refusal(path: str, access: Literal["read", "write"], rules: Rules) -> str | None:
    """Say what a path is that no tool may read or write, by the safety list or a deny rule with a pattern.

    For tools that come upon paths of themselves, as a search does: relative to the work directory, absolute
    outside it, links followed.
    """
    protected = protected_path(path, access)
    if protected is not None:
        return protected.what
    subject = Subject("fs_read" if access == "read" else "fs_write", (normal_path(path),), {}, None)
    patterned = [rule for rule in rules.deny if rule.pattern is not None]
    forbidding = binding_rule(patterned, subject)
    return None if forbidding is None else f"forbidden by the rule {_shown(forbidding.text)}"


def _unavailable(tool: str, context: PermissionContext) -> Deny | None:
    if context.run_tools is not None and not _lists(context.run_tools, tool):
        return Deny(f'"{tool}" is not among the tools of this run', "not_listed")
    if context.skill_tools is not None and not _lists(context.skill_tools, tool):
        return Deny(f'"{tool}" is not among the tools that the skill allows', "not_in_skill")
    if context.offered is not None and tool not in context.offered:
        return Deny(f'"{tool}" was not offered in this step', "not_offered")
    return None


def _lists(limit: ToolLimit, tool: str) -> bool:
    return any(fnmatchcase(tool, name) for name in limit.tools)


def _decide(subject: Subject, spec: ToolSpec, context: PermissionContext) -> Decision:
    forbidding = binding_rule(context.rules.deny, subject)
    if forbidding is not None:
        return Deny(f"the rule {_shown(forbidding.text)} forbids it", "rule")
    protected = _protected(subject, spec)
    if protected is not None:
        return Deny(
            f"{_shown(protected.path)} is {protected.what}: no tool may touch it, in any mode", "safety_list"
        )
    refused = _beyond_limits(subject, context) or _beyond_mode(subject, spec, context.mode)
    if refused is not None:
        return refused
    asking = binding_rule(context.rules.ask, subject)
    if asking is not None:
        return Ask(f"the rule {_shown(asking.text)} wants it asked about")
    if _allowed_by_rules(subject, context):
        return Allow()
    return _by_mode(subject, spec, context)


def _shown(text: str) -> str:
    return f'"{one_line(text[: 4 * _LONGEST_SHOWN], _LONGEST_SHOWN)}"'


def _protected(subject: Subject, spec: ToolSpec) -> ProtectedPath | None:
    """File tools are judged by their paths, as given and as resolved; other tools by every argument."""
    if subject.line is not None:
        return protected_mention(subject.line)
    if subject.tool in FILE_READERS | FILE_WRITERS:
        given = subject.arguments.get("path")
        texts = [*subject.paths, given] if isinstance(given, str) else list(subject.paths)
    else:
        texts = [*subject.paths, *argument_texts(subject.arguments)]
    access: Access = "mention" if spec.effect == "exec" else spec.effect
    return next((found for text in texts if (found := protected_path(text, access))), None)


def _beyond_limits(subject: Subject, context: PermissionContext) -> Deny | None:
    """Lists of tools may be limited to some arguments of a tool."""
    named: tuple[tuple[ToolLimit | None, str, DenyCause], ...] = (
        (context.run_tools, "this run", "not_listed"),
        (context.skill_tools, "the skill", "not_in_skill"),
    )
    for limit, who, cause in named:
        if limit is None:
            continue
        rules = tuple(rule for tool, rule in limit.rules if fnmatchcase(subject.tool, tool))
        if rules and not _within(limit, rules, subject):
            texts = " or ".join(_shown(rule.text) for rule in rules)
            return Deny(f"{who} is limited to {texts}", cause)
    return None


def _within(limit: ToolLimit, rules: Sequence[Rule], subject: Subject) -> bool:
    if covering_rule(rules, subject) is not None:
        return True

    def may_redirect(redirection: Redirection) -> bool:
        return any(_lists(limit, name) for name in (FILE_WRITERS if redirection.writes else {"fs_read"}))

    return subject.line is not None and not _uncovered(rules, subject.line, may_redirect)


def _uncovered(rules: Sequence[Rule], line: CommandLine, may_redirect: Callable[[Redirection], bool]) -> str:
    """Say what of a command the rules do not cover; empty where they cover every part."""
    if line.doubts:
        return f"it cannot be read with certainty: {line.doubts[0]}"
    if not line.commands:
        return "it holds no command"
    patterns = [rule.pattern for rule in rules if isinstance(rule.pattern, CommandPattern)]
    for command in line.commands:
        if not command.wrapper and not command_covered(patterns, command):
            words = (*command.assignments, *command.words)
            return f"no rule allows {_shown(' '.join(word.source for word in words))}"
        for redirection in command.redirections:
            target = redirection.target
            if target.text not in _DEVICES and (not target.literal or not may_redirect(redirection)):
                return f"no rule allows {_shown(redirection.operator + ' ' + target.source)}"
    return ""


def _beyond_mode(subject: Subject, spec: ToolSpec, mode: PermissionMode) -> Deny | None:
    if mode == "deny":
        return Deny('no tool may run in permission mode "deny"', "mode")
    if mode == "plan" and spec.effect != "read":
        return Deny(f'"{subject.tool}" may not run in permission mode "plan", which only reads', "mode")
    return None


def _allowed_by_rules(subject: Subject, context: PermissionContext) -> bool:
    if covering_rule(context.rules.allow, subject) is not None:
        return True
    return subject.line is not None and not _not_allowed(subject.line, context)


def _not_allowed(line: CommandLine, context: PermissionContext) -> str:
    """Say which part of a command no allow rule covers; empty where every part is covered."""
    moved = any(command.program in _MOVES for command in line.commands)

    def may_redirect(redirection: Redirection) -> bool:
        return not moved and _may_redirect(redirection, context)

    rules = [rule for rule in context.rules.allow if fnmatchcase(SHELL, rule.tool)]
    return _uncovered(rules, line, may_redirect)


def _may_redirect(redirection: Redirection, context: PermissionContext) -> bool:
    """A redirection needs what a file tool would need for the same path."""
    path = inside_workdir(redirection.target.text, context.workdir)
    tools = sorted(FILE_WRITERS) if redirection.writes else ["fs_read"]
    free = context.mode == "accept_edits" or (context.mode == "auto" and not redirection.writes)
    for tool in tools:
        subject = Subject(tool, (path,), {}, None, context.workdir)
        if binding_rule((*context.rules.deny, *context.rules.ask), subject) is not None:
            continue
        if free and _is_free(path, context):
            return True
        if not is_outside(path) and covering_rule(context.rules.allow, subject) is not None:
            return True
    return False


def _is_free(path: str, context: PermissionContext) -> bool:
    """Whether a path is within the work directory or a folder opened beside it."""
    if not is_outside(path):
        return True
    folders = [normal_path(folder).rstrip("/") for folder in context.opened]
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _by_mode(subject: Subject, spec: ToolSpec, context: PermissionContext) -> Decision:
    mode = context.mode
    reads = spec.effect == "read"
    own = bool(subject.paths) and all(path.startswith(OWN_ROOTS) for path in subject.paths)
    if mode == "bypass" or (reads and (own or _is_own(spec))):
        return Allow()
    outside = next((path for path in subject.paths if not _is_free(path, context)), None)
    writes_file = subject.tool in FILE_WRITERS and bool(subject.paths) and not own
    if outside is None and (
        (reads and mode in {"plan", "auto", "accept_edits"}) or (writes_file and mode == "accept_edits")
    ):
        return Allow()
    if outside is not None:
        return Ask(f"{_shown(outside)} is outside the work directory")
    if subject.line is not None and context.rules.allow:
        return Ask(_not_allowed(subject.line, context))
    return Ask(f'permission mode "{mode}" asks about "{subject.tool}"')


def _is_own(spec: ToolSpec) -> bool:
    """Tools of the loop itself, such as the choice of a category, touch nothing that is the user's."""
    return spec.source == "built-in" and spec.category == "meta"
