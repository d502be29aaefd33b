"""SKILL.md bytes to frontmatter and body: lenient where published files are sloppy, strict elsewhere. Pure.

Tolerated: a byte-order mark, CRLF line ends, and top-level values that YAML refuses but a reader understands
(`description: Use when: x`). Every scalar stays the text that was written (`version: 1.0` is `"1.0"`), so
that nothing is ever constructed from a tag; aliases are refused, which leaves no way to expand a small file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml

from hyperguild.errors import Problem, SkillError

MAX_FILE_BYTES: Final = 1024 * 1024
"""Fourteen times the longest published skill that was seen (73,299 characters)."""
MAX_FRONTMATTER_CHARS: Final = 16 * 1024
"""The format's own limits come to less than 2,000; YAML this long can take the parser a second."""
MAX_DEPTH: Final = 16
"""Nesting of the frontmatter. The YAML composer is recursive."""

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
"""A frontmatter value. Scalars are text, an empty or null scalar is None."""

_KEY_LINE: Final = re.compile(r"(?P<key>[A-Za-z_][\w.-]*)[ \t]*:(?:[ \t]+(?P<rest>.*))?", re.ASCII)
_STRUCTURED: Final = frozenset({"metadata", "allowed-tools"})
_QUOTE_HINT: Final = "put the value in double quotes"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something tolerated: 1-based line, and what it was."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """One SKILL.md taken apart.

    `fields` is the frontmatter in file order, `lines` the 1-based line of each key.

    `body` has LF line ends, no blank line at its head, no white space at its tail. It begins at `body_line`;
    when it is empty, that is the line of the closing `---`.
    """

    fields: Mapping[str, Value]
    lines: Mapping[str, int]
    body: str
    body_line: int
    remarks: tuple[Remark, ...]


def refusal(file: str, line: int, message: str, *, hint: str, column: int = 1) -> SkillError:
    """Build the error that names `file:line:column`, what is wrong, and the remedy."""
    problem = Problem(file, line, column, "", message)
    return SkillError(str(problem), hint=hint, problem=problem)


def parse_document(data: bytes, file: str) -> Document:
    """Take a SKILL.md apart; `file` is its name in errors.

    Raises SkillError when it is over 1 MiB, not UTF-8, has no closed frontmatter, or the frontmatter is no
    mapping, holds aliases, duplicate keys, control characters, or YAML that cannot be understood.
    """
    if len(data) > MAX_FILE_BYTES:
        raise refusal(
            file,
            1,
            f"the file has more than {MAX_FILE_BYTES:,} bytes",
            hint="move details into files under references/",
        )
    remarks: list[Remark] = []
    text = _decoded(data, file, remarks)
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise refusal(
            file,
            1,
            "there is no frontmatter: the first line is not ---",
            hint="begin the file with ---, the lines name: and description:, and another ---",
        )
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise refusal(file, 1, "the frontmatter is not closed", hint="add a line --- after the last key")
    head = lines[1:end]
    if sum(map(len, head)) > MAX_FRONTMATTER_CHARS:
        raise refusal(
            file,
            2,
            f"the frontmatter has more than {MAX_FRONTMATTER_CHARS:,} characters",
            hint="move text from the frontmatter into the body",
        )
    fields, key_lines = _FrontmatterReader(file, head, remarks).read()
    start = next((n for n in range(end + 1, len(lines)) if lines[n].strip()), end)
    body = "\n".join(lines[start:]).rstrip() if start > end else ""
    return Document(fields, key_lines, body, start + 1, tuple(remarks))


def _decoded(data: bytes, file: str, remarks: list[Remark]) -> str:
    """Return the text with LF line ends and no byte-order mark."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        column = exc.start - (data.rfind(b"\n", 0, exc.start) + 1) + 1
        raise refusal(
            file,
            line,
            f"byte 0x{data[exc.start]:02x} is not valid UTF-8",
            column=column,
            hint="save the file as UTF-8",
        ) from exc
    if text.startswith("\ufeff"):
        remarks.append(Remark(1, "the file begins with a byte-order mark"))
        text = text[1:]
    if "\r\n" in text:
        remarks.append(Remark(text.count("\n", 0, text.index("\r\n")) + 1, "lines end in CRLF"))
        text = text.replace("\r\n", "\n")
    return text


@dataclass(frozen=True, slots=True)
class _Entry:
    """One top-level key with the lines that belong to it; `index` is 0-based in the frontmatter."""

    key: str
    rest: str
    index: int
    lines: Sequence[str]


class _FrontmatterReader:
    """Reads the lines between the two `---`; the first of them is line 2 of the file."""

    def __init__(self, file: str, head: Sequence[str], remarks: list[Remark]) -> None:
        self._file = file
        self._head = head
        self._remarks = remarks

    def read(self) -> tuple[dict[str, Value], dict[str, int]]:
        """Return the values and the line of each key; raises SkillError."""
        try:
            return self._mapping(self._compose(self._head, 0), 0)
        except (yaml.YAMLError, ValueError, OverflowError) as exc:
            # Beyond its own errors, the YAML scanner lets chr() fail on escapes such as "\Uffffffff".
            error = self._not_understood(exc)
            if isinstance(exc, yaml.reader.ReaderError):
                raise error from exc
            return self._recovered(error)

    def _compose(self, lines: Sequence[str], index: int) -> yaml.Node | None:
        """Parse `lines`, which begin at `index`; raises SkillError for aliases and deep nesting."""
        text = "\n".join(lines) + "\n"
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = index + (event.start_mark.line if event.start_mark else 0) + 2
            if isinstance(event, yaml.AliasEvent):
                raise self._refusal(line, "YAML aliases are not allowed in frontmatter", _QUOTE_HINT)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise self._refusal(line, f"nested deeper than {MAX_DEPTH} levels", "flatten the frontmatter")
        return yaml.compose(text, Loader=yaml.SafeLoader)

    def _mapping(self, node: yaml.Node | None, index: int) -> tuple[dict[str, Value], dict[str, int]]:
        """Turn the root node into values and key lines."""
        if not isinstance(node, yaml.MappingNode):
            what = "empty" if node is None else "not a mapping"
            raise self._refusal(
                index + 2, f"the frontmatter is {what}", "write the lines name: ... and description: ..."
            )
        fields: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, fields, index)
            fields[key] = self._value(value_node, index)
            lines[key] = index + key_node.start_mark.line + 2
        return fields, lines

    def _key(self, node: yaml.Node, seen: Mapping[str, Value], index: int) -> str:
        line = index + node.start_mark.line + 2
        if not isinstance(node, yaml.ScalarNode):
            raise self._refusal(line, "a key is not plain text", "write each key as one word")
        key = self._clean(str(node.value), line)
        if key in seen:
            raise self._refusal(line, f'duplicate key "{key}"', "keep one of the two")
        return key

    def _value(self, node: yaml.Node, index: int) -> Value:
        line = index + node.start_mark.line + 2
        if isinstance(node, yaml.MappingNode):
            fields: dict[str, Value] = {}
            for key_node, value_node in node.value:
                fields[self._key(key_node, fields, index)] = self._value(value_node, index)
            return fields
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, index) for item in node.value]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        return self._clean(str(node.value), line)

    def _clean(self, text: str, line: int) -> str:
        """Refuse what would act on a terminal that prints it, and what no encoder can write."""
        for char in text:
            if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs"):
                raise self._refusal(
                    line, f"the value holds the control character U+{ord(char):04X}", "remove that character"
                )
        return text

    def _recovered(self, error: SkillError) -> tuple[dict[str, Value], dict[str, int]]:
        """Read key by key, taking a value that YAML refuses as text; raises `error` if that fails too."""
        fields: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for entry in self._entries(error):
            line = entry.index + 2
            if entry.key in fields:
                raise self._refusal(line, f'duplicate key "{entry.key}"', "keep one of the two")
            fields[entry.key] = self._entry_value(entry, error)
            lines[entry.key] = line
        return fields, lines

    def _entry_value(self, entry: _Entry, error: SkillError) -> Value:
        try:
            values, _ = self._mapping(self._compose(entry.lines, entry.index), entry.index)
            return values[entry.key]
        except (yaml.YAMLError, ValueError, OverflowError):
            opens_block = entry.rest[:1] in ("", "|", ">")
            if opens_block or (entry.key in _STRUCTURED and entry.rest[:1] in ("[", "{")):
                raise error from None
        self._remarks.append(Remark(entry.index + 2, f'"{entry.key}" is not valid YAML: {_QUOTE_HINT}'))
        parts = [entry.rest, *(line.strip() for line in entry.lines[1:])]
        text = " ".join(part for part in parts if part and not part.startswith("#"))
        return self._clean(text, entry.index + 2)

    def _entries(self, error: SkillError) -> list[_Entry]:
        """Cut the frontmatter at its top-level keys; raises `error` when it does not begin with one."""
        starts: list[tuple[int, str, str]] = []
        for index, line in enumerate(self._head):
            match = _KEY_LINE.fullmatch(line.rstrip())
            if match:
                starts.append((index, match["key"], (match["rest"] or "").strip()))
            elif not starts and line.strip() and not line.startswith("#"):
                raise error
        if not starts:
            raise error
        ends = [index for index, _, _ in starts[1:]] + [len(self._head)]
        return [
            _Entry(key, rest, index, self._head[index:end])
            for (index, key, rest), end in zip(starts, ends, strict=True)
        ]

    def _not_understood(self, exc: Exception) -> SkillError:
        if isinstance(exc, yaml.reader.ReaderError):
            before = "\n".join(self._head)[: exc.position]
            line, column = before.count("\n") + 2, len(before) - (before.rfind("\n") + 1) + 1
            hint = "remove that character"
            return refusal(self._file, line, "a character that YAML does not allow", column=column, hint=hint)
        mark = exc.problem_mark or exc.context_mark if isinstance(exc, yaml.MarkedYAMLError) else None
        reason = str(exc.problem or exc.context) if isinstance(exc, yaml.MarkedYAMLError) else str(exc)
        line, column = (mark.line + 2, mark.column + 1) if mark else (2, 1)
        return refusal(
            self._file, line, f"the frontmatter is not valid YAML: {reason}", column=column, hint=_QUOTE_HINT
        )

    def _refusal(self, line: int, message: str, hint: str) -> SkillError:
        return refusal(self._file, line, message, hint=hint)
