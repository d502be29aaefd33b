"""Finds secrets in text and puts placeholders in their place.

Two ways to know one: its value was configured (`Scrubber.learn`), or it has the shape of a well-known key.
Here a secret is taken out for good (`secret_shapes` has the shapes); what goes to a cloud is redacted by
`hyperguild.inference.redaction`, which finds more and puts it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hyperguild.domain.secret_shapes import SHAPES

SHORTEST_SECRET = 8
"""Characters. Replacing shorter values would tear holes into ordinary text and protect little."""

_PASSES = 8
"""Two settle all but made-up cases: the second one sees boundaries that the first one's placeholders made."""


@dataclass(frozen=True, slots=True)
class _Learned:
    """Every spelling of every configured value with its name, and one pattern that finds them all."""

    pattern: re.Pattern[str]
    names: Mapping[str, str]


_PLACEHOLDER = re.compile(r"\[secret:([^\s\[\]][^\[\]]*)\]")


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names in the placeholders of a scrubbed text, each once, in the order of the text."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


LITERAL = "literal_placeholders"
"""Of a stored message, and of what is stored of a prompt: names that stood in it as placeholders already."""


def placeholders_in(value: Any) -> tuple[str, ...]:
    """Return the names in the placeholders of a JSON value's strings, each once; not in its keys."""
    if isinstance(value, str):
        return placeholders(value)
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return tuple(dict.fromkeys(name for item in items for name in placeholders_in(item)))


class Scrubber:
    """Replaces secrets by `[secret:NAME]` (a learned value) or `[secret:KIND]` (a well-known shape).

    Scrubbing what was scrubbed changes nothing. Values that hold square brackets are replaced too, but for
    them alone that is no promise. `learn` may be called while another thread scrubs.
    """

    def __init__(self) -> None:
        self._learned: _Learned | None = None
        self._values: dict[str, set[str]] = {}

    def learn(self, name: str, value: str) -> None:
        """Know a secret's value, also as it stands in a JSON string or a URL; white space around it is cut.

        Ignored: values of fewer than 8 characters, and those that a placeholder spells anyway (such as
        `password`, or a variable that is set to its own name).
        """
        value = value.strip()
        if len(value) < SHORTEST_SECRET:
            return
        self._values.setdefault(name, set()).add(value)
        names = dict(self._learned.names) if self._learned else {}
        for form in _spellings(value):
            names.setdefault(form, name)
        placeholders = [_placeholder(word) for word in {*names.values(), *(shape.kind for shape in SHAPES)}]
        names = {form: word for form, word in names.items() if not any(form in text for text in placeholders)}
        longest_first = sorted(names, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._learned = _Learned(pattern, names) if names else None

    def learned_spans(self, text: str) -> list[tuple[int, int]]:
        """Return where learned values stand in the text, start and end, in order and apart."""
        learned = self._learned
        if learned is None or not any(form in text for form in learned.names):
            return []
        return [match.span() for match in learned.pattern.finditer(text)]

    def scrub(self, text: str) -> str:
        """Return the text with a placeholder for every secret; the text itself where there is none."""
        for _ in range(_PASSES):
            scrubbed = self._pass(text)
            if scrubbed == text:
                break
            text = scrubbed
        return text

    def scrub_json(self, value: Any) -> Any:
        """Return a JSON value with every string in it scrubbed; the keys of objects stay."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, dict):
            return {key: self.scrub_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub_json(item) for item in value]
        return value

    def restore(self, text: str, names: Collection[str]) -> str:
        """Return the text with those of the named secrets in place of their placeholders that can be had.

        That is: one value was learned under the name, it is spelled the same everywhere, and no well-known
        shape leaves the same placeholder.
        """

        def original(match: re.Match[str]) -> str:
            return self._original(match[1]) or match[0] if match[1] in names else match[0]

        return _PLACEHOLDER.sub(original, text)

    def _original(self, name: str) -> str | None:
        values = self._values.get(name, set())
        if len(values) != 1 or any(shape.kind == name for shape in SHAPES):
            return None
        (value,) = values
        return value if set(_spellings(value)) == {value} else None

    def _pass(self, text: str) -> str:
        learned = self._learned
        if learned is not None:
            text = learned.pattern.sub(lambda match: _placeholder(learned.names[match[0]]), text)
        for shape in SHAPES:
            text = _replaced(text, shape.spans(text), _placeholder(shape.kind))
        return text


def _spellings(value: str) -> tuple[str, ...]:
    in_json = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return (value, *in_json, quote(value, safe=""))


def _placeholder(name: str) -> str:
    return f"[secret:{name}]"


def _replaced(text: str, spans: Sequence[tuple[int, int]], placeholder: str) -> str:
    if not spans:
        return text
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], placeholder]
        at = end
    return "".join([*pieces, text[at:]])
