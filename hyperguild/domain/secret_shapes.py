"""The shapes of well-known keys: what is a secret wherever it stands, by how it looks.

A shape is strict on purpose: a commit hash, a UUID or `sk-learn` in a stored answer must stay readable.
Every pattern runs in linear time: it is tried only where one of its beginnings stands, its open-ended parts
are possessive, and what it goes back over, or looks ahead for, has a bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hyperguild.domain.patterns import LazyPattern, lazy


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of key: a pattern, and the literals with one of which every match begins.

    What the group matched is the secret: `secret`, or 0 for the whole match. `one_word`: each match stands
    in what `long_words` returns.
    """

    kind: str
    starts: tuple[str, ...]
    pattern: LazyPattern
    group: str | int = 0
    one_word: bool = False

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where secrets of this kind stand, start and end, in order and apart."""
        found = sorted(match.span() + match.span(self.group) for match in self._matches(text))
        apart: list[tuple[int, int]] = []
        past = 0
        for start, end, secret_start, secret_end in found:
            if start >= past:
                apart.append((secret_start, secret_end))
                past = end
        return apart

    def is_whole(self, text: str) -> bool:
        """Tell whether the text is one such secret and nothing else."""
        return text.startswith(self.starts) and self.spans(text) == [(0, len(text))]

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        # Finding the literal first is many times faster than a search with the pattern.
        for literal in self.starts:
            at = text.find(literal)
            while at >= 0:
                match = self.pattern().match(text, at)
                if match is not None:
                    yield match
                at = text.find(literal, at + 1 if match is None else match.end())


def shape(kind: str, starts: tuple[str, ...], pattern: str, *, one_word: bool = False) -> Shape:
    """Return the shape; what the pattern's group `secret` matches is the secret, if it has one."""
    group = "secret" if "(?P<secret>" in pattern else 0
    return Shape(kind, starts, lazy(pattern), group, one_word)


_WORD_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_TO_WORDS = bytes(byte if byte in _WORD_CHARS else 32 for byte in range(256))
_LONG = 14


def long_words(text: str) -> str:
    """Return the runs of at least 14 letters, digits, `_`, `.` and `-` in the text; seldom much of it."""
    words = text.encode("ascii", "replace").translate(_TO_WORDS).split()
    return b" ".join([word for word in words if len(word) >= _LONG]).decode("ascii")


def shapes_in(text: str) -> Iterator[Shape]:
    """Return the shapes that may stand in the text: a quick way to say no to most of them."""
    words = long_words(text)
    return (one for one in SHAPES if not one.one_word or any(start in words for start in one.starts))


_NOT_INSIDE_WORD = r"(?<![A-Za-z0-9])"
_ENDS = r"(?![A-Za-z0-9_-])"
_DIGIT_AHEAD = r"(?=[A-Za-z_-]{0,200}[0-9])"
_PEM_NAME = r"(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_LINE = r"[^\n]{0,120}?[A-Za-z0-9+/=]{40,}+[^\nA-Za-z0-9]{0,8}(?:\\n[^\nA-Za-z0-9]{0,8})?(?:\n|\Z)"
_PEM_GAP = r"(?:[\s\"',]|\\[nr]?){0,16}+"


def _token(kind: str, starts: tuple[str, ...], rest: str) -> Shape:
    """Return the shape of keys that vendors mark with a beginning of their own; `rest` is what follows."""
    beginning = "|".join(map(re.escape, starts))
    return shape(kind, starts, rf"{_NOT_INSIDE_WORD}(?:{beginning}){rest}{_ENDS}", one_word=True)


SHAPES = (
    shape(
        "private-key",
        ("-----BEGIN ",),
        # Header lines (Proc-Type, Version), then lines of base64, which may stand escaped in a string
        # literal. The end may be missing: an answer that was cut off still holds half a key.
        rf"-----BEGIN {_PEM_NAME}(?:"
        r"(?:(?:\s|\\[nr]){0,4}[A-Za-z-]{1,30}: [^\n\\]{0,200}){0,8}+"
        rf"(?>(?:{_PEM_GAP}[A-Za-z0-9+/=]{{16,}}+)+)"
        rf"(?:{_PEM_GAP}[A-Za-z0-9+/=]{{0,76}}+{_PEM_GAP}-----END {_PEM_NAME})?"
        # Something before each line: its number, a file's name, the marks of a diff or a quotation, quotes.
        rf"|[^\n]{{0,16}}\n(?:(?![^\n]{{0,200}}-----)[^\n]{{0,200}}\n){{0,4}}?(?:{_PEM_LINE})++"
        rf"(?:(?:[^\n]{{0,200}}\n)?[^\n]{{0,120}}?-----END {_PEM_NAME})?)",
    ),
    shape(
        "password",
        ("://",),
        # scheme://user:password@host. What a template fills in (`${X}`, `{x}`, `<x>`, `%s`) is no password.
        r"://[^\s:/@\"'`<>]{0,128}+:(?!\[secret:|[${<*]|%[s(])"
        r"(?P<secret>[^\s/?#\"'`<>]{1,256})(?=@[A-Za-z0-9\[])",
    ),
    shape(
        "bearer",
        ("Bearer", "bearer"),
        # The token68 of RFC 9110, section 11.2; without a digit it is more likely a word of prose or code.
        rf"{_NOT_INSIDE_WORD}[Bb]earer[ \t]{{1,4}}(?=[A-Za-z_.~+/-]{{0,200}}[0-9])"
        r"(?P<secret>[A-Za-z0-9._~+/-]{16,}+=*+)",
    ),
    shape(
        "jwt",
        ("eyJ",),
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{10,}+",
        one_word=True,
    ),
    shape(
        "anthropic",
        ("sk-ant-",),
        rf"{_NOT_INSIDE_WORD}sk-ant-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+",
        one_word=True,
    ),
    shape(
        "api-key",
        ("sk-",),
        # OpenAI and the many servers that copied its keys. Without a known second word, only one unbroken
        # run counts: sk-toggleable__content-1 is a class of a style sheet.
        rf"{_NOT_INSIDE_WORD}sk-(?:(?:proj|svcacct|admin|None|or|or-v1)-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+"
        r"|(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9]{20,}+)",
        one_word=True,
    ),
    shape(
        "github",
        ("gh", "github_pat_"),
        rf"{_NOT_INSIDE_WORD}(?:gh[pousr]_[A-Za-z0-9]{{36,255}}+|github_pat_[A-Za-z0-9_]{{22,255}}+)",
        one_word=True,
    ),
    shape("aws", ("AKIA", "ASIA"), rf"{_NOT_INSIDE_WORD}A[KS]IA[A-Z0-9]{{16}}(?![A-Za-z0-9])", one_word=True),
    shape("google", ("AIza",), rf"{_NOT_INSIDE_WORD}AIza[A-Za-z0-9_-]{{35}}(?![A-Za-z0-9_-])", one_word=True),
    _token("google", ("GOCSPX-",), r"[A-Za-z0-9_-]{28}"),
    shape(
        "slack",
        ("xox", "xapp-"),
        rf"{_NOT_INSIDE_WORD}(?:xox[a-z]|xapp)-{_DIGIT_AHEAD}[A-Za-z0-9-]{{10,}}+",
        one_word=True,
    ),
    shape(
        "slack",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/services/(?P<secret>T[A-Z0-9]{6,16}/B[A-Z0-9]{6,16}/[A-Za-z0-9]{20,40}+)",
    ),
    shape(
        "huggingface", ("hf_",), rf"{_NOT_INSIDE_WORD}hf_[A-Za-z0-9]{{34,64}}+(?![A-Za-z0-9_])", one_word=True
    ),
    shape(
        "gitlab", ("glpat-",), rf"{_NOT_INSIDE_WORD}glpat-{_DIGIT_AHEAD}[A-Za-z0-9_-]{{20,}}+", one_word=True
    ),
    shape(
        "groq",
        ("gsk_",),
        rf"{_NOT_INSIDE_WORD}gsk_(?=[A-Za-z]{{0,200}}[0-9])[A-Za-z0-9]{{40,}}+",
        one_word=True,
    ),
    shape(
        "stripe",
        ("sk_", "rk_"),
        rf"{_NOT_INSIDE_WORD}[sr]k_(?:live_[A-Za-z0-9]{{16,}}+"
        r"|test_(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9]{24,}+)",
        one_word=True,
    ),
    shape(
        "stripe",
        ("whsec_",),
        rf"{_NOT_INSIDE_WORD}whsec_(?=[A-Za-z+/]{{0,200}}[0-9])[A-Za-z0-9+/]{{24,}}+",
    ),
    # Formats that their vendors document, or that secret scanning at code hosts looks for.
    _token("npm", ("npm_",), r"(?=[A-Za-z]{0,36}[0-9])[A-Za-z0-9]{36}"),
    _token("pypi", ("pypi-AgE",), r"[A-Za-z0-9_-]{50,}+"),
    _token("sendgrid", ("SG.",), r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    _token("digitalocean", ("dop_v1_", "doo_v1_", "dor_v1_"), r"[a-f0-9]{64}"),
    _token("shopify", ("shp",), r"(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _token("twilio", ("SK",), r"[a-f0-9]{32}"),
    _token("mailgun", ("key-",), r"(?=[a-f]{0,31}[0-9])[a-f0-9]{32}"),
    _token("databricks", ("dapi",), r"[a-f0-9]{32}"),
    _token("vault", ("hv",), rf"[sb]\.{_DIGIT_AHEAD}[A-Za-z0-9_-]{{24,}}+"),
    _token("age", ("AGE-SECRET-KEY-1",), r"[A-Z0-9]{58}"),
    _token("xai", ("xai-",), r"(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9]{60,}+"),
    _token("perplexity", ("pplx-",), r"(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9]{40,}+"),
    _token("replicate", ("r8_",), r"[A-Za-z0-9]{37}"),
    _token("linear", ("lin_api_",), r"[A-Za-z0-9]{32,64}+"),
    _token("grafana", ("glsa_",), r"[A-Za-z0-9]{32}_[a-f0-9]{8}"),
    _token("docker", ("dckr_pat_",), r"[A-Za-z0-9_-]{20,40}+"),
    _token("tailscale", ("tskey-",), rf"{_DIGIT_AHEAD}[A-Za-z0-9-]{{20,}}+"),
    _token("figma", ("figd_",), r"[A-Za-z0-9_-]{36,64}+"),
    # NUMBER:AA…: the number alone is the bot's name.
    shape("telegram", (":AA",), r"(?<=[0-9]{8}):(?P<secret>AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])"),
)
"""Every shape; two may have one kind."""
