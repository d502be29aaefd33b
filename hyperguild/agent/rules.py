"""Permission rules: tool globs, each with an optional pattern for the arguments. Pure.

`fs_read` · `fs_*` · `shell(git:*)` · `shell(npm test)` · `fs_write(src/**)` · `fetch_get(url=https://docs.*)`

- `shell(git log:*)`: simple commands that begin with these words; `shell(npm test)`: with these words and no
  others. A word may hold `*`; a last word `*` is the same as `:*`.
- File tools: a glob over paths, much as gitignore has it: without a `/` it means the last part at any depth,
  `*` stays within a part, `**` does not, `[` is a letter as any other. A path outside the work directory is
  matched by absolute patterns; to forbid or ask, also by those without a `/`.
- Other tools: a glob over the whole text of an argument: of the one named before a `=`, else of every one.

What allows must cover all of a call; what forbids or asks needs to match a part of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from hyperguild.agent.command_line import read_command_line
from hyperguild.agent.shell_words import WILD, Word
from hyperguild.skills.tool_names import native_tool_name

FILE_READERS: Final = frozenset({"fs_read", "fs_ls", "fs_glob", "fs_grep"})
FILE_WRITERS: Final = frozenset({"fs_write", "fs_edit"})
SHELL: Final = "shell"
OWN_ROOTS: Final = ("skill:/", "session:/")
"""Heads of paths in the skill's folder and among the saved results, which tools can read only."""

RuleKind = Literal["allow", "ask", "deny"]
_KINDS: Final[tuple[RuleKind, ...]] = ("allow", "ask", "deny")

_RULE = re.compile(r"(?P<tool>[A-Za-z0-9_*?-]+)(?:\((?P<pattern>.*)\))?", re.DOTALL)


class RuleFault(ValueError):
    """A rule cannot be read; the message says why, in words, without the rule itself."""


@dataclass(frozen=True, slots=True)
class CommandPattern:
    """The words that a simple command has (`open_ended`: begins with)."""

    words: tuple[Word, ...]
    open_ended: bool


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A glob over the parts of paths: each a shape, or `**` for any number of parts.

    `inside`: it is relative to the work directory. `any_depth`: it was one part, so it is about last parts.
    """

    parts: tuple[str, ...]
    inside: bool
    any_depth: bool


@dataclass(frozen=True, slots=True)
class ArgumentPattern:
    """A glob over argument texts, of `key` alone where that is not empty."""

    key: str
    shape: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it was written, and what was read from it; one pattern at most, none: any arguments."""

    text: str
    tool: str
    pattern: CommandPattern | PathPattern | ArgumentPattern | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed, asked about and forbidden, whichever stands first within each."""

    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()


NO_RULES: Final = Rules()


def parse_rules(source: Mapping[str, Any]) -> tuple[Rules, tuple[str, ...]]:
    """Read `{allow: [...], ask: [...], deny: [...]}`; return the rules and the faults, each with its place.

    A rule with a fault is left out: who finds faults refuses the configuration.
    """
    faults = [
        f'{key}: unknown key; there are "allow", "ask" and "deny"' for key in source if key not in _KINDS
    ]
    read: dict[RuleKind, tuple[Rule, ...]] = {}
    for kind in _KINDS:
        texts = source.get(kind) or []
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            faults.append(f"{kind}: a list of rules is expected")
            continue
        rules: list[Rule] = []
        for spot, text in enumerate(texts):
            try:
                rules.append(parse_rule(text))
            except RuleFault as fault:
                faults.append(f'{kind}.{spot}: "{text}": {fault}')
        read[kind] = tuple(rules)
    return Rules(**read), tuple(faults)


def parse_rule(text: object) -> Rule:
    """Read one rule. Raises `RuleFault`."""
    if not isinstance(text, str):
        raise RuleFault("a rule is a text such as shell(git:*)")
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise RuleFault("a rule is the name of a tool, then at most one pattern in brackets")
    tool, pattern = found["tool"], found["pattern"]
    own = native_tool_name(tool)
    if own != tool and (tool[0].isupper() or tool.startswith("mcp__")):
        raise RuleFault(f'no tool bears this name here; did you mean "{own}"?')
    if pattern is None or pattern.strip() in {"*", ":*", "**"}:
        return Rule(text, tool)
    if not pattern.strip():
        raise RuleFault("the brackets are empty")
    return Rule(text, tool, _pattern(tool, pattern.strip()))


def _pattern(tool: str, text: str) -> CommandPattern | PathPattern | ArgumentPattern:
    if tool == SHELL:
        return _command_pattern(text)
    if tool.startswith("fs_"):
        return _path_pattern(text)
    if "*" in tool or "?" in tool:
        raise RuleFault("a pattern needs the name of one tool, or fs_ and a glob")
    key, equals, value = text.partition("=")
    if equals and key.isidentifier():
        return ArgumentPattern(key, _shape(value))
    return ArgumentPattern("", _shape(text))


def _shape(glob: str) -> str:
    return re.sub(r"\*+", WILD, glob.replace(WILD, " "))


def _command_pattern(text: str) -> CommandPattern:
    open_ended = text.endswith(":*")
    line = read_command_line(text.removesuffix(":*"))
    words = line.commands[0].words if len(line.commands) == 1 else ()
    command = line.commands[0] if line.commands else None
    if line.doubts or command is None or not words or not command.certain or command.redirections:
        raise RuleFault("a pattern is the words of one simple command, all written out")
    if command.assignments:
        raise RuleFault("a pattern begins with the name of a program, not with a variable")
    if words[-1].shape == WILD:
        return CommandPattern(words[:-1], open_ended=True)
    return CommandPattern(words, open_ended)


def _path_pattern(text: str) -> PathPattern:
    if text.startswith(("~", "!")):
        raise RuleFault("~ and ! have no meaning here; write the absolute path")
    if any(char in text for char in "?{}"):
        raise RuleFault("of globs only * and ** are known; write one rule for each path")
    inside = not text.startswith(("/", *OWN_ROOTS))
    path = posixpath.normpath(text)
    if ".." in path.split("/"):
        raise RuleFault("a pattern does not climb with ..")
    parts = [part if part == "**" else _shape(part) for part in path.split("/")]
    if inside and "/" not in text:
        parts.insert(0, "**")
    elif text.endswith("/"):
        parts.append("**")
    return PathPattern(tuple(parts), inside, "/" not in text)
