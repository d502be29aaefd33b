"""Words of a shell command, and how one is put together from quoted and open pieces. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WILD: Final = "\0"
"""In a word's shape: any run of characters, the empty one included."""

_OPENING, _BRACE, _CLOSING_BRACE, _COMMA, _CLOSING = "\1", "\2", "\3", "\4", "\5"
"""Unquoted `[`, `{`, `}`, `,` and `]` while a shape is being built."""

MARKS: Final = dict(
    zip("*?[{},]", (WILD, WILD, _OPENING, _BRACE, _CLOSING_BRACE, _COMMA, _CLOSING), strict=True)
)
_UNMARKED: Final = str.maketrans(
    dict(zip((_OPENING, _BRACE, _CLOSING_BRACE, _COMMA, _CLOSING), "[{},]", strict=True))
)


@dataclass(frozen=True, slots=True)
class Word:
    """One word.

    `source`: as written. `text`: without its quotes, expansions as written. `shape`: the text with `WILD`
    for every unquoted glob, brace list and expansion. `expands`: its value is not in the text (`$x`, `$( )`).
    """

    source: str
    text: str
    shape: str
    expands: bool

    @property
    def literal(self) -> bool:
        """Whether the shell takes it for just its text."""
        return not self.expands and WILD not in self.shape


class WordBuilder:
    """A word while it is being read."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._shape: list[str] = []
        self._expands = False

    def literal(self, text: str) -> None:
        """Add text that stands for itself."""
        self._text.append(text)
        self._shape.append(text)

    def mark(self, char: str) -> None:
        """Add an unquoted character that may be part of a glob or a brace list."""
        self._text.append(char)
        self._shape.append(MARKS[char])

    def expansion(self, source: str) -> None:
        """Add what the shell replaces by something that is not known here."""
        self._text.append(source)
        self._shape.append(WILD)
        self._expands = True

    def decoded(self, text: str) -> None:
        """Add what `$'...'` stands for: shown to whoever looks for it, but not vouched for."""
        self.literal(text)
        self._expands = True

    def word(self, source: str) -> Word:
        """Return the word; `source` is how it was written."""
        shape, lists = _brace_lists_wild("".join(self._shape))
        shape = _classes_wild(shape).translate(_UNMARKED)
        return Word(source, "".join(self._text), shape, self._expands or lists)


def _brace_lists_wild(shape: str) -> tuple[str, bool]:
    """Everything between the first and the last brace is open where it may be a list or a range."""
    first, last = shape.find(_BRACE), shape.rfind(_CLOSING_BRACE)
    if not 0 <= first < last:
        return shape, False
    inner = shape[first:last]
    if _COMMA not in inner and ".." not in inner:
        return shape, False
    return shape[:first] + WILD + shape[last + 1 :], True


def _classes_wild(shape: str) -> str:
    pieces: list[str] = []
    done = 0
    opening = shape.find(_OPENING)
    while opening >= 0:
        closing = shape.find(_CLOSING, opening + 2)
        if closing < 0:
            break
        pieces += [shape[done:opening], WILD]
        done = closing + 1
        opening = shape.find(_OPENING, done)
    return "".join([*pieces, shape[done:]])
