"""Text for a person on stdout: cleaned, wrapped to the terminal, coloured only there.

Imports rich, and so is itself imported only by commands that print a page.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from hyperguild.cli.output import flat
from hyperguild.domain.text import cleaned

NARROW = 60
"""Columns. Below this, what stands side by side elsewhere stands one under the other."""

USUAL_WIDTH = 80
"""Columns, where nothing says how many there are."""

PROSE_WIDTH = 100
"""Columns. Longer lines of prose are hard to read, however wide the terminal is."""

FOLDED_ROWS = 6
"""Rows that are shown of a folded text."""

FOLDED_CHARS = 500
"""Characters that are shown of one line of a folded text where lines are not wrapped."""

Part = tuple[str, str]
"""A text and its rich style. The text is cleaned, and is never read as markup."""


def joined(*parts: Part) -> Text:
    """Return the parts as one text."""
    line = Text()
    for text, style in parts:
        line.append(cleaned(text), style or None)
    return line


@dataclass(slots=True)
class Page:
    """Lines that are collected, then printed at once.

    `width` is in columns. `wraps` is False for a pipe or file: there lines stay whole, for grep and the like.
    `styled` says whether colours are shown. `label_width` is that of the labels before facts, in columns.
    `whole_with` says how a folded text is seen whole.
    """

    width: int
    wraps: bool
    styled: bool
    label_width: int = 10
    whole_with: str = "--full"
    lines: list[Text] = field(default_factory=list)
    _measure: Console = field(default_factory=lambda: Console(file=io.StringIO(), width=80), repr=False)

    @classmethod
    def for_stdout(cls, env: Mapping[str, str]) -> Page:
        """Return a page that fits stdout, `$COLUMNS`, `$NO_COLOR` and `$TERM`."""
        terminal = sys.stdout.isatty()
        columns = env.get("COLUMNS", "")
        asked = int(columns) if columns.isdecimal() and int(columns) > 0 else None
        fallback = _terminal_columns() if terminal else USUAL_WIDTH
        plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
        return cls(
            width=max(asked or fallback, 20),
            wraps=terminal or asked is not None,
            styled=terminal and not plain,
        )

    @property
    def narrow(self) -> bool:
        """Whether there is little room."""
        return self.width < NARROW

    @property
    def indent(self) -> int:
        """Columns by which what belongs to a heading is moved in."""
        return 2 if self.narrow else 4

    def add(self, *parts: Part, indent: int = 0, hang: int = 0) -> None:
        """Add one line, wrapped where needed; the rows after its first one are moved in by `hang` more."""
        line = joined(*((flat(text), style) for text, style in parts))
        rows = self._rows(line, min(self.width, PROSE_WIDTH) - indent - hang)
        for number, row in enumerate(rows):
            self.lines.append(_moved_in(row, indent + (hang if number else 0)))

    def flow(self, items: Sequence[Sequence[Part]], separator: str, *, indent: int = 0) -> None:
        """Add items beside each other, in as many rows as are needed; rows end between items only."""
        room = min(self.width, PROSE_WIDTH) - indent
        row = Text()
        for item in (joined(*((flat(text), style) for text, style in parts)) for parts in items):
            if row.plain and self.wraps and row.cell_len + cell_len(separator) + item.cell_len > room:
                self.lines.append(_moved_in(row, indent))
                row = Text()
            row = row.append(separator, "dim").append_text(item) if row.plain else item
        if row.plain:
            self.lines.append(_moved_in(row, indent))

    def row(self, *parts: Part) -> None:
        """Add one line as it is, not wrapped."""
        self.lines.append(joined(*((flat(text), style) for text, style in parts)))

    def gap(self) -> None:
        """Add an empty line, unless there is one."""
        if self.lines and self.lines[-1].plain:
            self.lines.append(Text())

    def fact(self, label: str, *parts: Part, indent: int = 0, style: str = "dim") -> None:
        """Add a label with a text beside it, whole, wrapped in its own column."""
        column = indent + self.label_width
        rows = list(self._rows(joined(*parts), min(self.width, PROSE_WIDTH) - column))
        self._beside((label, style), rows, indent)

    def quote(self, label: str, text: str, *, indent: int = 0, whole: bool = False, style: str = "") -> None:
        """Add a label with a text beside it that keeps its lines; folded to its first rows unless `whole`."""
        width = self.width - indent - self.label_width
        rows, note = self._folded(cleaned(text).rstrip(), width, whole=whole)
        rows = [Text(row.plain, style) for row in rows]
        if note:
            rows += self._rows(Text(note, "dim"), width)
        self._beside((label, "dim"), rows, indent)

    def text(self, text: str) -> None:
        """Add a text whole, with its own lines, from the first column."""
        self.lines += self._rows(Text(cleaned(text).rstrip()), self.width)

    def print(self) -> None:
        """Print all lines on stdout; without styles where these are not shown."""
        if not self.styled:
            click.echo("\n".join(line.plain.rstrip() for line in self.lines))
            return
        console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=self.width)
        for line in self.lines:
            console.print(line, soft_wrap=True)

    def _folded(self, text: str, width: int, *, whole: bool) -> tuple[list[Text], str]:
        """Return the rows to show and a note of what is left out, empty where nothing is."""
        if whole:
            return list(self._rows(Text(text), width)), ""
        source = text.split("\n")
        rows: list[Text] = []
        ends: list[int] = []
        for line in source:
            fits = self.wraps or len(line) <= FOLDED_CHARS
            rows += self._rows(Text(line if fits else line[:FOLDED_CHARS]), width)
            # One row more than the limit is shown rather than announced.
            if not fits or len(rows) > FOLDED_ROWS + 1:
                break
            ends.append(len(rows))
        if len(ends) == len(source):
            return rows, ""
        rows = rows[:FOLDED_ROWS]
        left = len(source) - sum(end <= FOLDED_ROWS for end in ends)
        if left > 1:
            return rows, f"… {left} more lines ({self.whole_with})"
        hidden = max(len(text) - sum(len(row) for row in rows), 1)
        return rows, f"… {hidden:,} more characters ({self.whole_with})"

    def _beside(self, label: Part, rows: list[Text], indent: int) -> None:
        column = indent + self.label_width
        heading = Text(" " * indent).append(flat(label[0]).ljust(self.label_width), label[1])
        for number, row in enumerate(rows or [Text()]):
            self.lines.append(heading.append_text(row) if number == 0 else _moved_in(row, column))

    def _rows(self, text: Text, width: int) -> Iterator[Text]:
        text.expand_tabs(4)
        if not self.wraps:
            yield from text.split("\n", allow_blank=True)
            return
        yield from text.wrap(self._measure, max(width, 10), overflow="fold", tab_size=4)


def _terminal_columns() -> int:
    """Return how wide stdout is. `shutil.get_terminal_size` would ask the stream that ours has replaced."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def _moved_in(row: Text, columns: int) -> Text:
    return Text(" " * columns).append_text(row) if row.plain else Text()
