"""Text of models, programs and servers, made fit for a terminal, a log, an error or a prompt."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # operating system commands: titles, links, clipboard
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"  # device control and other strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor
    r"|\x1b[ -/]*[0-~]?"  # other escapes
)
_ACTIVE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    r"\u2028\u2029"  # line ends that only some programs see
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks and overrides of text direction
    r"\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # of no width: they hide in words
    r"\U000e0000-\U000e007f"  # tags: letters that nobody sees, and models read
)
"""What has no place on a terminal. Joiners (U+200C, U+200D) have: scripts and emoji need them."""

_CONTROLS = re.compile(f"[{_ACTIVE}]")
_UNSEEN = re.compile(
    f"[{_ACTIVE}\ud800-\udfff"
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0e\U000e0100-\U000e01ef]"
)
"""Fillers and soft hyphens, too: two commands that look the same may not be. Joiners are ordinary text."""


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and UTF-8 cannot, by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def cleaned(text: str) -> str:
    """Drop all that a terminal would act on, and what reorders text; make every line end a line feed."""
    text = _ESCAPES.sub("", encodable(text))
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def revealed(text: str) -> str:
    """Write what `cleaned` drops, escape sequences too, and fillers as JSON escapes it: `\\u202e`.

    For what somebody is to agree to, and for JSON.
    """
    return _UNSEEN.sub(_escape, text)


def revealed_parts(text: str) -> list[str]:
    """Return what `revealed` does in parts: 0, 2, 4 … are text as it is, 1, 3, 5 … were written otherwise."""
    parts: list[str] = []
    end = 0
    for match in _UNSEEN.finditer(text):
        parts += [text[end : match.start()], _escape(match)]
        end = match.end()
    return [*parts, text[end:]]


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def one_line(text: str, limit: int) -> str:
    """Return the text cleaned, on one line, its characters all printable, in at most `limit` of them."""
    flat = " ".join(cleaned(text).split())
    if not flat.isprintable():
        flat = " ".join("".join(filter(str.isprintable, flat)).split())
    return clipped(flat, limit)


def clipped(text: str, limit: int) -> str:
    """Return at most `limit` characters: where there are more, the head and `…`."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def clipped_tail(text: str, limit: int) -> str:
    """Return at most `limit` characters: where there are more, `…` and the tail, which says why it failed."""
    return text if len(text) <= limit else "…" + text[len(text) - limit + 1 :].lstrip()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like the given one, or None where none is near."""
    folded = {candidate.lower(): candidate for candidate in sorted(known)}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None
