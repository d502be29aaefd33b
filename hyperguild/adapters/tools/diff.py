"""A unified diff of two states of one file. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

CONTEXT_LINES = 3
COMPARED_LINES_MAX = 3_000
"""Changed lines, before or after, up to which they are compared; the time for that grows with the square."""

NO_NEWLINE = "\\ No newline at end of file"
_HUNK = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


def unified(before: str | None, after: str, name: str) -> str:
    """Return the difference as a unified diff with a header, empty where there is none; no last line feed.

    `before` is None where there was no file.

    Where too much changed to compare it line by line, all of it is shown as taken out and put in.
    """
    header = [f"--- {'/dev/null' if before is None else name}", f"+++ {name}"]
    old, new = _lines(before or ""), _lines(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    if head == len(old) == len(new):
        return "" if before is not None else "\n".join(header)
    # Only what differs, and its context, is compared: that keeps a small change of a long file cheap.
    start = max(head - CONTEXT_LINES, 0)
    end = max(tail - CONTEXT_LINES, 0)
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    if max(len(old), len(new)) > COMPARED_LINES_MAX:
        changes = [
            f"@@ -{_range(start, len(old))} +{_range(start, len(new))} @@",
            *(f"-{line}" for line in old),
            *(f"+{line}" for line in new),
        ]
    else:
        compared = difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm="")
        changes = [_moved(line, start) for line in list(compared)[2:]]
    return "\n".join([*header, *changes])


def bounded(diff: str, *, lines: int, chars: int) -> str:
    """Return a diff's head, with a note where that is not all."""
    all_lines = diff.split("\n")
    kept: list[str] = []
    for line in all_lines[:lines]:
        chars -= len(line) + 1
        if chars < 0:
            break
        kept.append(line)
    left = len(all_lines) - len(kept)
    return "\n".join([*kept, f"[{left} more lines of the diff]"] if left else kept)


def _lines(text: str) -> list[str]:
    """Return the lines; one that lacks its line feed differs from one that has it."""
    lines = text.split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n{NO_NEWLINE}"]


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(old), len(new)))


def _moved(line: str, by: int) -> str:
    """Return a hunk's header with its line numbers raised; any other line as it is."""
    hunk = _HUNK.match(line)
    if hunk is None:
        return line
    return f"@@ -{int(hunk[1]) + by}{hunk[2] or ''} +{int(hunk[3]) + by}{hunk[4] or ''} @@"


def _range(start: int, length: int) -> str:
    return f"{start + 1 if length else start},{length}"
