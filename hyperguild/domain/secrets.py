"""Finds secrets in text and puts placeholders in their place.

Two ways to know one: its value was configured (`Scrubber.learn`), or it has the shape of a well-known key.
A shape is strict on purpose: a commit hash, a UUID or `sk-learn` in a stored answer must stay readable.
Every pattern runs in linear time: it begins with a literal, its open-ended parts are possessive, and what it
goes back over, or looks ahead for, has a bounded length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

SHORTEST_SECRET = 8
"""Characters. Replacing shorter values would tear holes into ordinary text and protect little."""

_PASSES = 8
"""Two settle all but made-up cases: the second one sees boundaries that the first one's placeholders made."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of key: a pattern, and literals of which one stands in every match (a quick way to say no).

    What group `secret` matched is replaced; where there is no such group, the whole match is.
    """

    kind: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(kind: str, literals: tuple[str, ...], pattern: str) -> _Shape:
    return _Shape(kind, literals, re.compile(pattern))


_NOT_INSIDE_WORD = r"(?<![A-Za-z0-9])"
_DIGIT_AHEAD = r"(?=[A-Za-z_-]{0,200}[0-9])"
_PEM_GAP = r"(?:[\s\"',]|\\[nr]?){0,16}+"

_SHAPES = (
    _shape(
        "private-key",
        ("PRIVATE KEY",),
        # Header lines (Proc-Type, Version), then lines of base64, which may stand escaped in a string
        # literal. The end may be missing: an answer that was cut off still holds half a key.
        r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:\s|\\[nr]){0,4}[A-Za-z-]{1,30}: [^\n\\]{0,200}){0,8}+"
        rf"(?>(?:{_PEM_GAP}[A-Za-z0-9+/=]{{16,}}+)+)"
        rf"(?:{_PEM_GAP}[A-Za-z0-9+/=]{{0,76}}+{_PEM_GAP}"
        r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    _shape(
        "password",
        ("://",),
        # scheme://user:password@host. What a template fills in (`${X}`, `{x}`, `<x>`, `%s`) is no password.
        r"://[^\s:/@\"'`<>]{0,128}+:(?!\[secret:|[${<*]|%[s(])"
        r"(?P<secret>[^\s/?#\"'`<>]{1,256})(?=@[A-Za-z0-9\[])",
    ),
    _shape(
        "bearer",
        ("earer",),
        # The token68 of RFC 9110, section 11.2; without a digit it is more likely a word of prose or code.
        rf"{_NOT_INSIDE_WORD}[Bb]earer[ \t]{{1,4}}(?=[A-Za-z_.~+/-]{{0,200}}[0-9])"
        r"(?P<secret>[A-Za-z0-9._~+/-]{16,}+=*+)",
    ),
    _shape(
        "jwt",
        ("eyJ",),
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{10,}+",
    ),
    _shape("anthropic", ("sk-ant-",), rf"{_NOT_INSIDE_WORD}sk-ant-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+"),
    _shape(
        "api-key",
        ("sk-",),
        # OpenAI and the many servers that copied its keys. Without a known second word, only one unbroken
        # run counts: sk-toggleable__content-1 is a class of a style sheet.
        rf"{_NOT_INSIDE_WORD}sk-(?:(?:proj|svcacct|admin|None|or|or-v1)-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+"
        r"|(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9]{20,}+)",
    ),
    _shape(
        "github",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        rf"{_NOT_INSIDE_WORD}(?:gh[pousr]_[A-Za-z0-9]{{36,255}}+|github_pat_[A-Za-z0-9_]{{22,255}}+)",
    ),
    _shape("aws", ("AKIA", "ASIA"), rf"{_NOT_INSIDE_WORD}A[KS]IA[A-Z0-9]{{16}}(?![A-Za-z0-9])"),
    _shape("google", ("AIza",), rf"{_NOT_INSIDE_WORD}AIza[A-Za-z0-9_-]{{35}}(?![A-Za-z0-9_-])"),
    _shape(
        "slack",
        ("xox", "xapp-"),
        rf"{_NOT_INSIDE_WORD}(?:xox[a-z]|xapp)-{_DIGIT_AHEAD}[A-Za-z0-9-]{{10,}}+",
    ),
    _shape("huggingface", ("hf_",), rf"{_NOT_INSIDE_WORD}hf_[A-Za-z0-9]{{34,64}}+(?![A-Za-z0-9_])"),
    _shape("gitlab", ("glpat-",), rf"{_NOT_INSIDE_WORD}glpat-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+"),
    _shape("groq", ("gsk_",), rf"{_NOT_INSIDE_WORD}gsk_(?=[A-Za-z]{{0,200}}[0-9])[A-Za-z0-9]{{40,}}+"),
    _shape("stripe", ("k_live_",), rf"{_NOT_INSIDE_WORD}[sr]k_live_[A-Za-z0-9]{{16,}}+"),
)


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
        placeholders = [_placeholder(word) for word in {*names.values(), *(shape.kind for shape in _SHAPES)}]
        names = {form: word for form, word in names.items() if not any(form in text for text in placeholders)}
        longest_first = sorted(names, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._learned = _Learned(pattern, names) if names else None

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
        if len(values) != 1 or any(shape.kind == name for shape in _SHAPES):
            return None
        (value,) = values
        return value if set(_spellings(value)) == {value} else None

    def _pass(self, text: str) -> str:
        learned = self._learned
        if learned is not None:
            text = learned.pattern.sub(lambda match: _placeholder(learned.names[match[0]]), text)
        for shape in _shapes_in(text):
            text = shape.pattern.sub(partial(_replacement, shape.kind), text)
        return text


def _spellings(value: str) -> tuple[str, ...]:
    in_json = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return (value, *in_json, quote(value, safe=""))


def _shapes_in(text: str) -> Iterator[_Shape]:
    return (shape for shape in _SHAPES if any(literal in text for literal in shape.literals))


def _placeholder(name: str) -> str:
    return f"[secret:{name}]"


def _replacement(kind: str, match: re.Match[str]) -> str:
    if "secret" not in match.re.groupindex:
        return _placeholder(kind)
    start, end = match.span("secret")
    whole, offset = match[0], match.start()
    return whole[: start - offset] + _placeholder(kind) + whole[end - offset :]
