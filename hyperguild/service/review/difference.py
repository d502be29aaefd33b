"""The difference of two answers: lines, and within changed lines words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

MAX_LINES = 1500
MAX_WORDS = 600
MAX_PAIRS = 2_000_000
"""Beyond these difflib takes too long: it compares each with each. Lines are of a text, words of a line, and
pairs those of words in all lines together."""

CONTEXT_LINES = 3

Kind = Literal["same", "less", "more", "fold"]
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference. `parts` alternates between text in both and text in this one alone.

    Of a `fold`, lines that are in both and left out, `parts` is empty and `folded` says how many.
    """

    kind: Kind
    parts: tuple[str, ...] = ()
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Two texts compared. `cut`: only the first `MAX_LINES` lines of each were."""

    lines: tuple[DiffLine, ...]
    cut: bool

    @property
    def is_none(self) -> bool:
        """Whether the texts, as far as they were compared, are the same."""
        return all(line.kind in {"same", "fold"} for line in self.lines)


def difference(old: str, new: str) -> Difference:
    """Compare two texts line by line."""
    before, after = _split(old), _split(new)
    lines: list[DiffLine] = []
    changed = _Changed()
    # Its heuristic against lines that come again and again stays on: a model may repeat itself for pages.
    matcher = SequenceMatcher(None, before[:MAX_LINES], after[:MAX_LINES])
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            first, last = i1 == 0 and j1 == 0, i2 == min(len(before), MAX_LINES)
            lines += _folded(before[i1:i2], first=first, last=last)
        else:
            lines += changed.lines(before[i1:i2], after[j1:j2])
    return Difference(tuple(lines), max(len(before), len(after)) > MAX_LINES)


def _split(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _folded(same: Sequence[str], *, first: bool, last: bool) -> list[DiffLine]:
    """Return lines of both, without those that are far from any change."""
    head = 0 if first else CONTEXT_LINES
    tail = 0 if last else CONTEXT_LINES
    left_out = len(same) - head - tail
    lines = [DiffLine("same", (line,)) for line in same]
    if left_out < 2:
        return lines
    return [*lines[:head], DiffLine("fold", folded=left_out), *lines[len(lines) - tail :]]


class _Changed:
    """Lays out changed lines, with their words as long as these are not too many in all."""

    def __init__(self) -> None:
        self._pairs_left = MAX_PAIRS

    def lines(self, less: Sequence[str], more: Sequence[str]) -> list[DiffLine]:
        """Return lines of one text alone; with their words where they stand against each other."""
        if len(less) != len(more):
            return [DiffLine("less", ("", line)) for line in less] + [
                DiffLine("more", ("", line)) for line in more
            ]
        pairs = [self._words(old, new) for old, new in zip(less, more, strict=True)]
        return [DiffLine("less", old) for old, _ in pairs] + [DiffLine("more", new) for _, new in pairs]

    def _words(self, old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        before, after = _WORDS.findall(old), _WORDS.findall(new)
        pairs = len(before) * len(after)
        if max(len(before), len(after)) > MAX_WORDS or pairs > self._pairs_left:
            return ("", old), ("", new)
        self._pairs_left -= pairs
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        if matcher.ratio() < 0.3:  # hardly the same line: single words in common would only distract
            return ("", old), ("", new)
        sides: tuple[list[str], list[str]] = ([""], [""])
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            for side, piece in zip(sides, ("".join(before[i1:i2]), "".join(after[j1:j2])), strict=True):
                _append(side, piece, changed=tag != "equal")
        return tuple(sides[0]), tuple(sides[1])


def _append(side: list[str], piece: str, *, changed: bool) -> None:
    """Add a piece to parts that alternate, beginning with one of both."""
    if not piece:
        return
    if (len(side) % 2 == 0) == changed:
        side[-1] += piece
    else:
        side.append(piece)
