"""Exact replacement in a text, and what to say where the text to be replaced is not there. Pure."""

from __future__ import annotations

import bisect
import difflib
import itertools
from collections.abc import Sequence

from hyperguild.adapters.tools.content import UTF8_BOM, lines_of
from hyperguild.domain.text import clipped, encodable
from hyperguild.domain.tools import ToolError

COMPARED_LINES_MAX = 5_000
"""Lines of a file among which the nearest are looked for."""

COMPARED_CHARS_MAX = 200
"""Of each of them."""

SIMILAR_ENOUGH = 0.6
"""Of 1; difflib's own figure for a close match."""

TELLING_CHARS = 12
"""A new text that is shorter may stand in the file by chance."""

SHOWN_LINES_MAX = 12
SHOWN_CHARS_MAX = 1_500
PLACES_SHOWN_MAX = 10


def edited(data: bytes, old: str, new: str, *, everywhere: bool) -> tuple[bytes, int]:
    """Return a file's bytes with `old` replaced by `new`, and how often that was done.

    A byte-order mark, bytes that are not UTF-8 and the line ends outside the replaced text are kept. A line
    feed in `old` fits a CRLF too; in a file with mostly CRLF `new` gets them. Raises `ToolError`, in words
    for a model, where `old` is empty, like `new`, not there, or there more than once and not `everywhere`.
    """
    bom = UTF8_BOM if data.startswith(UTF8_BOM) else b""
    raw = data.removeprefix(bom).decode("utf-8", "surrogateescape")
    text = raw.replace("\r\n", "\n")
    old, new = encodable(old).replace("\r\n", "\n"), encodable(new).replace("\r\n", "\n")
    if not old:
        raise ToolError("`old` is empty; give the text to replace, or write the whole file with fs_write")
    if old == new:
        raise ToolError("`old` and `new` are the same; nothing would change")
    at = _occurrences(text, old)
    if not at:
        raise ToolError(_not_there(text, old, new))
    if len(at) > 1 and not everywhere:
        places = ", ".join(str(text.count("\n", 0, index) + 1) for index in at[:PLACES_SHOWN_MAX])
        raise ToolError(
            f"`old` occurs {len(at)} times, on lines {places}{', …' if len(at) > PLACES_SHOWN_MAX else ''};"
            " give more of the lines around the one you mean, or set `all` to true"
        )
    crlf = _places_of_crlf(raw)
    if 2 * len(crlf) > text.count("\n"):
        new = new.replace("\n", "\r\n")
    pieces: list[str] = []
    done = 0
    for index in at:
        start, end = (place + bisect.bisect_left(crlf, place) for place in (index, index + len(old)))
        pieces += (raw[done:start], new)
        done = end
    pieces.append(raw[done:])
    return bom + "".join(pieces).encode("utf-8", "surrogateescape"), len(at)


def _occurrences(text: str, old: str) -> list[int]:
    found: list[int] = []
    index = text.find(old)
    while index >= 0:
        found.append(index)
        index = text.find(old, index + len(old))
    return found


def _places_of_crlf(raw: str) -> list[int]:
    """Return where the line feeds that were CRLF stand in the text that has line feeds alone."""
    pieces = raw.split("\r\n")
    return [end - 1 for end in itertools.accumulate(len(piece) + 1 for piece in pieces[:-1])]


def _not_there(text: str, old: str, new: str) -> str:
    head = "`old` does not occur in the file"
    if len(new.strip()) >= TELLING_CHARS and new in text:
        head += " (but `new` does: perhaps the change is made already)"
    if not old.strip():
        return f"{head}, and is blank; give the text around it, too"
    lines, wanted = lines_of(text), lines_of(old.strip("\n"))
    bare = [line.strip() for line in wanted]
    for start in range(len(lines) - len(wanted) + 1):
        if (
            lines[start].strip() == bare[0]
            and [line.strip() for line in lines[start : start + len(wanted)]] == bare
        ):
            shown = _shown(lines, start, len(wanted))
            return f"{head} with just these spaces; copy the lines exactly. {shown}"
    start_near = _nearest(lines, wanted)
    if start_near is None:
        return f"{head}, nor anything like it; read the file first and copy the text exactly"
    return f"{head}; copy the lines exactly. The nearest: {_shown(lines, start_near, len(wanted))}"


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return where the lines begin that are most like the wanted ones, by the longest of those."""
    key_at = max(range(len(wanted)), key=lambda index: len(wanted[index].strip()))
    key = wanted[key_at].strip()[:COMPARED_CHARS_MAX]
    matcher = difflib.SequenceMatcher(b=key, autojunk=False)
    best, best_at = SIMILAR_ENOUGH, None
    for index, line in enumerate(lines[:COMPARED_LINES_MAX]):
        matcher.set_seq1(line.strip()[:COMPARED_CHARS_MAX])
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and matcher.ratio() > best:
            best, best_at = matcher.ratio(), index
    return None if best_at is None else max(best_at - key_at, 0)


def _shown(lines: Sequence[str], start: int, count: int) -> str:
    end = min(start + min(count, SHOWN_LINES_MAX), len(lines))
    body = clipped("\n".join(lines[start:end]), SHOWN_CHARS_MAX).encode("utf-8", "replace").decode()
    return f"Lines {start + 1} to {end}:\n{body}"
