"""Changes one value in the text of chains.yaml, and leaves everything else as somebody wrote it."""

from __future__ import annotations

import json
from copy import deepcopy

import yaml

from hyperguild.config.marks import YamlError, read_yaml

_NOT_IN_FLOW = frozenset(",[]{}")
"""Characters that end a plain text within {…} and […]."""


class EditError(ValueError):
    """The text is written in a way that is not edited here; the message says why."""


def with_accept_at(text: str, verifier: str, accept_at: float) -> str:
    """Return the text with the `accept_at` of the verifier's judge set; comments and layout stay.

    `text` is a whole chains.yaml that is accepted. A short form (`judge: NAME`) becomes a mapping. Raises
    `EditError` where the place is an alias or the like: a change there would change more than this.
    """
    document = read_yaml(text)
    wanted = deepcopy(document.data)
    judge = wanted["verifiers"][verifier]["judge"]
    number = f"{accept_at:.4g}"
    if isinstance(judge, dict):
        judge["accept_at"] = float(number)
    else:
        wanted["verifiers"][verifier]["judge"] = {"model": judge, "accept_at": float(number)}
    edited = _edited(text, _judge_entry(text, verifier), number)
    try:
        result = read_yaml(edited)
    except YamlError:
        result = None
    # Whatever YAML allows that is not thought of here: nothing is returned that says something else.
    if result is None or result.faults != document.faults or result.data != wanted:
        raise EditError("it is not written in a way that is edited here")
    return edited


def _judge_entry(text: str, verifier: str) -> tuple[yaml.Node, yaml.Node]:
    """Return the nodes of the key `judge` and of its value."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    key: yaml.Node | None = None
    for name in ("verifiers", verifier, "judge"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [pair for pair in pairs if pair[0].value == name]
        if not found:
            raise EditError(f"{name} comes from elsewhere in the file")
        key, node = found[0]
        if node.start_mark.index < key.end_mark.index:
            raise EditError(f"{name} is an alias (*)")
    if key is None or node is None:
        raise EditError("the file is empty")
    return key, node


def _edited(text: str, entry: tuple[yaml.Node, yaml.Node], number: str) -> str:
    key, judge = entry
    start, end = judge.start_mark.index, judge.end_mark.index
    if text[start : start + 1] in {"&", "!"}:
        raise EditError("judge has an anchor (&)")
    if isinstance(judge, yaml.MappingNode):
        return _in_mapping(text, judge, number)
    if isinstance(judge, yaml.SequenceNode) and not judge.flow_style:
        return _around_block_list(text, key, judge, number)
    names = text[start:end]
    if isinstance(judge, yaml.ScalarNode) and judge.style is None and _NOT_IN_FLOW & set(names):
        names = json.dumps(judge.value, ensure_ascii=False)
    return f"{text[:start]}{{model: {names}, accept_at: {number}}}{text[end:]}"


def _in_mapping(text: str, judge: yaml.MappingNode, number: str) -> str:
    for key, value in judge.value:
        if key.value == "accept_at":
            start, end = value.start_mark.index, value.end_mark.index
            if start < key.end_mark.index or text[start : start + 1] in {"&", "!"}:
                raise EditError("accept_at is an alias (*) or has an anchor (&)")
            return f"{text[:start]}{number}{text[end:]}"
    if judge.flow_style:
        end = max(max(key.end_mark.index, value.end_mark.index) for key, value in judge.value)
        return f"{text[:end]}, accept_at: {number}{text[end:]}"
    first, value = judge.value[0]
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * first.start_mark.column
    line_end = text.find("\n", value.end_mark.index)
    if value.start_mark.line == value.end_mark.line == first.start_mark.line and line_end >= 0:
        return f"{text[: line_end + 1]}{indent}accept_at: {number}{newline}{text[line_end + 1 :]}"
    start = first.start_mark.index
    return f"{text[:start]}accept_at: {number}{newline}{indent}{text[start:]}"


def _around_block_list(text: str, key: yaml.Node, judge: yaml.SequenceNode, number: str) -> str:
    """Put a list of lines under a key of its own; it moves in where it stands no deeper than `judge`."""
    newline = "\r\n" if "\r\n" in text else "\n"
    line_start = judge.start_mark.index - judge.start_mark.column
    column = judge.start_mark.column
    deeper = 2 if column <= key.start_mark.column else 0
    indent = " " * (column + deeper)
    lines = text[line_start : judge.end_mark.index].splitlines(keepends=True)
    moved = "".join(" " * deeper + line if line.strip() else line for line in lines)
    added = f"{indent}accept_at: {number}{newline}{indent}model:{newline}"
    return f"{text[:line_start]}{added}{moved}{text[judge.end_mark.index :]}"
