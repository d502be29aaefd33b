"""The `allowed-tools` key in the four shapes that published skills use. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyperguild.skills.tool_names import native_tool_name


@dataclass(frozen=True, slots=True)
class ToolPattern:
    """A rule such as `Bash(git:*)`: `tool` is this program's name, `pattern` the text in the brackets."""

    tool: str
    pattern: str


@dataclass(frozen=True, slots=True)
class AllowedTools:
    """What a skill may be offered: a limit, never a permission.

    `tools` holds names of this program (globs where the source has them), in the order of the file, each
    once. `patterns` holds the rules of those tools that are listed with patterns alone: a tool that also
    stands without one is not limited by its arguments. `faults` says what in the source could not be read as
    meant.
    """

    tools: tuple[str, ...]
    patterns: tuple[ToolPattern, ...]
    faults: tuple[str, ...]


def parse_allowed_tools(text: str) -> AllowedTools:
    """Read names parted by spaces or commas, each with an optional pattern in brackets.

    A bracket that is never closed keeps the rest of the text as its pattern, so a slip narrows and never
    widens.
    """
    tools: dict[str, None] = {}
    patterns: dict[ToolPattern, None] = {}
    unlimited: set[str] = set()
    faults: list[str] = []
    for word in _words(text):
        name, bracket, rest = word.partition("(")
        if not name:
            faults.append(f'"{word}" has a pattern but no tool')
            continue
        if ")" in name:
            faults.append(f'"{word}" closes a bracket that it does not open')
        tool = native_tool_name(name)
        tools[tool] = None
        if not bracket:
            unlimited.add(tool)
            continue
        if not rest.endswith(")"):
            faults.append(f'"{word}" lacks its closing bracket')
        patterns[ToolPattern(tool, rest.removesuffix(")").strip())] = None
    limited = tuple(pattern for pattern in patterns if pattern.tool not in unlimited)
    return AllowedTools(tuple(tools), limited, tuple(faults))


def _words(text: str) -> Iterator[str]:
    """Split at white space and commas outside brackets."""
    depth = 0
    word = ""
    for char in text:
        if depth == 0 and (char.isspace() or char == ","):
            if word:
                yield word
            word = ""
            continue
        depth = max(0, depth + (char == "(") - (char == ")"))
        word += char
    if word:
        yield word
