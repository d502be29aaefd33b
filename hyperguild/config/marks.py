"""YAML with line and column: plain values, and where in the text each of them stands."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from hyperguild.config.wording import DocumentPath, PathPart

# A real chains.yaml nests 8 deep and has a few hundred nodes; these stop bombs, not people.
MAX_DEPTH = 40
MAX_NODES = 20_000

_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # as YAML has it
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
_PLAIN_TAGS = frozenset({_TAG + "null", _TAG + "bool", _TAG + "int", _TAG + "float"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A 1-based line and column (in characters)."""

    line: int
    column: int


class YamlError(ValueError):
    """The text is not YAML that is read here; `place` is where, the message quotes no value."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about a node that is refused whatever the schema says, such as a key given twice.

    `spoils_value`: there is no value at the path that could be looked at further.
    """

    path: DocumentPath
    place: Place
    message: str
    spoils_value: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict with str keys, list, str, int, finite float, bool, None) with the places of its parts.

    Keys are taken as they are written, so `on:` and `4:` are the texts "on" and "4". `faults` are problems
    found while reading; the data leaves out what they are about.
    """

    data: Any
    faults: tuple[Fault, ...] = ()
    keys: dict[DocumentPath, Place] = field(default_factory=dict)
    values: dict[DocumentPath, Place] = field(default_factory=dict)

    def place(self, path: DocumentPath, *, key: bool = False) -> Place:
        """Return where the value at the path stands (or its key), or the nearest thing above that exists.

        A path that is not there is found at the key of what it is missing in.
        """
        if not key and path in self.values:
            return self.values[path]
        for length in range(len(path), 0, -1):
            above = path[:length]
            if above in self.keys:
                return self.keys[above]
            if above in self.values:
                return self.values[above]
        return Place(1, 1)


def read_yaml(text: str) -> Document:
    """Read one YAML document. Raises `YamlError` for bad syntax and for alias and nesting bombs."""
    try:
        root = yaml.compose(text, Loader=_BoundedLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise YamlError(_syntax_message(exc), _place(mark) if mark else Place(1, 1)) from exc
    except ReaderError as exc:
        raise YamlError(
            "holds a character that YAML does not allow", _place_of_index(text, exc.position)
        ) from exc
    except (ValueError, OverflowError) as exc:  # PyYAML lets out what `chr` and `int` say of absurd numbers
        raise YamlError("not valid YAML: an escape or a number is out of range", Place(1, 1)) from exc
    if root is None:
        return Document(data=None)
    reader = _Reader()
    data = reader.value(root, ())
    return Document(data=data, faults=tuple(reader.faults), keys=reader.keys, values=reader.values)


class _BoundedLoader(yaml.SafeLoader):
    """Composes nodes to a bounded depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, f"nested more than {MAX_DEPTH} deep", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Reader:
    """Turns nodes into plain values, and notes places and faults on the way."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.keys: dict[DocumentPath, Place] = {}
        self.values: dict[DocumentPath, Place] = {}
        self._scalars = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: DocumentPath) -> Any:
        """Return the node's plain value; None, with a fault noted, where it has none."""
        self._count += 1
        if self._count > MAX_NODES:
            raise YamlError(f"holds more than {MAX_NODES} values, aliases included", _place(node.start_mark))
        if id(node) in self._open:
            raise YamlError("an alias stands inside what it names", _place(node.start_mark))
        self.values[path] = _place(node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        self._fault(path, node, "YAML tags are not read here", spoils_value=True)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: DocumentPath) -> Any:
        if node.tag in _TEXT_TAGS:
            if not _is_clean(node.value):
                self._fault(path, node, "holds a NUL or half a surrogate pair", spoils_value=True)
            return node.value
        if node.tag not in _PLAIN_TAGS:
            self._fault(path, node, "YAML tags are not read here", spoils_value=True)
            return None
        try:
            value = self._scalars.construct_object(node)
        except (ConstructorError, ValueError, OverflowError, KeyError):  # `!!int x`, `!!bool x`, 5000 digits
            message = "is not a number or word of the kind that YAML takes it for; quote it"
            self._fault(path, node, message, spoils_value=True)
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._fault(path, node, "must be a finite number", spoils_value=True)
            return None
        return value

    def _mapping(self, node: yaml.MappingNode, path: DocumentPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged += self._merged(value_node, path)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            here: tuple[PathPart, ...] = (*path, key)
            if key in result:
                first = self.keys[here].line
                self._fault(here, key_node, f"duplicate key; it stands on line {first} already")
                continue
            self.keys[here] = _place(key_node.start_mark)
            result[key] = self.value(value_node, here)
        for key_node, value_node in merged:
            key = self._key(key_node, path)
            if key is not None and key not in result:
                self.keys[*path, key] = _place(key_node.start_mark)
                result[key] = self.value(value_node, (*path, key))
        return result

    def _merged(self, node: yaml.Node, path: DocumentPath) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return what `<<: *one` or `<<: [*one, *two]` brings in; the first to bring a key wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: list[tuple[yaml.Node, yaml.Node]] = []
        for source in sources:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._fault((*path, "<<"), node, "must be a mapping, or a list of mappings, from elsewhere")
                continue
            nested = [pair for pair in source.value if pair[0].tag == _TAG + "merge"]
            entries += [pair for pair in source.value if pair[0].tag != _TAG + "merge"]
            if nested:
                self._fault((*path, "<<"), node, "what is merged may not merge in its turn")
        return entries

    def _key(self, node: yaml.Node, path: DocumentPath) -> str | None:
        if isinstance(node, yaml.ScalarNode) and _is_clean(node.value):
            return str(node.value)
        self._fault(path, node, "keys must be plain text")
        return None

    def _fault(
        self, path: DocumentPath, node: yaml.Node, message: str, *, spoils_value: bool = False
    ) -> None:
        self.faults.append(Fault(path, _place(node.start_mark), message, spoils_value))


def _is_clean(text: str) -> bool:
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_of_index(text: str, index: int) -> Place:
    lines = _LINE_END.split(text[:index])
    return Place(len(lines), len(lines[-1]) + 1)


def _syntax_message(exc: yaml.MarkedYAMLError) -> str:
    """Return the parser's words, less those that quote the file."""
    problem = exc.problem or "it cannot be read"
    if problem.startswith("found character '\\t'"):
        return "not valid YAML: a tab cannot be used for indentation; use spaces"
    for start, plain in (
        (
            "found undefined alias",
            "an alias (*name) names no anchor (&name) above; quote text that begins with *",
        ),
        ("found duplicate anchor", "an anchor (&name) is given twice"),
        ("second occurrence", "an anchor (&name) is given twice"),
        ("found undefined tag handle", "YAML tags are not read here; quote text that begins with !"),
        ("expected a single document", "the file holds more than one document"),
        ("but found another document", "the file holds more than one document"),
        ("could not find expected ':'", "a key has no ':' after it, or its text should be quoted"),
        (
            "mapping values are not allowed",
            "a ':' stands where no key can; check the indentation or quote the text",
        ),
    ):
        if problem.startswith(start):
            return f"not valid YAML: {plain}"
    return f"not valid YAML: {problem}"
