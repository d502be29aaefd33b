"""Tables of numbers: a name, then figures under each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from hyperguild.cli.output import flat
from hyperguild.cli.page import Page, Part
from hyperguild.domain.text import one_line

LEAST_NAME = 8
"""Columns. Names that get fewer cannot be told apart: then each row becomes several."""


@dataclass(frozen=True, slots=True)
class NumberTable:
    """Cells by row, as many as there are names in the `header`; the first column is text, to the left.

    Everything is moved in by `indent` columns.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Part]]
    indent: int = 0


def fill_numbers(page: Page, table: NumberTable) -> None:
    """Put the table on the page; where there is little room, each row as its name and named figures."""
    header: list[Part] = [(name, "dim") for name in table.header]
    rows = [header, *([(flat(text), style) for text, style in row] for row in table.rows)]
    widths = [max(cell_len(row[column][0]) for row in rows) for column in range(len(header))]
    figures = sum(widths[1:]) + 2 * len(widths[1:])
    room = page.width - table.indent - figures if page.wraps else widths[0]
    if room < min(widths[0], LEAST_NAME) or (page.wraps and page.narrow):
        _one_under_the_other(page, table)
        return
    first = min(widths[0], room)
    for row in rows:
        name = one_line(row[0][0], first)
        parts: list[Part] = [(" " * table.indent, ""), (name, row[0][1])]
        parts.append((" " * (first - cell_len(name)), ""))
        for (text, style), width in zip(row[1:], widths[1:], strict=True):
            parts += [(" " * (width - cell_len(text) + 2), ""), (text, style)]
        page.row(*parts)


def _one_under_the_other(page: Page, table: NumberTable) -> None:
    for row in table.rows:
        if row[0][0]:
            page.add(row[0], indent=table.indent)
        named = [
            [(f"{name} ", "dim"), cell]
            for name, cell in zip(table.header[1:], row[1:], strict=True)
            if cell[0] and name
        ]
        unnamed = [
            [cell] for name, cell in zip(table.header[1:], row[1:], strict=True) if cell[0] and not name
        ]
        page.flow([*unnamed, *named], "  ", indent=table.indent + 2)


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share as a person reads it: `92 %`; a dash for None.

    Digits are added, up to three, before some become `0 %` or nearly all `100 %`.
    """
    if share is None:
        return "–"
    for places in range(digits, 4):
        text = f"{share * 100:.{places}f}"
        if float(text) not in {0.0, 100.0}:
            return f"{text} %"
    return f"{round(share * 100)} %"


def short_time(ms: float | None) -> str:
    """Return a duration in few characters: `340 ms`, `2.1 s`, `3.4 min`, `5.2 h`; a dash for None."""
    if ms is None:
        return "–"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    for unit, length, limit in (("s", 1000, 100), ("min", 60_000, 100), ("h", 3_600_000, 1000)):
        if ms / length < limit - 0.05:
            return f"{ms / length:.1f} {unit}"
    return f"{ms / 86_400_000:.0f} d"


def short_count(count: int) -> str:
    """Return a large number in six characters at most: `950`, `12.3k`, `4.5M`."""
    if count < 1000:
        return str(count)
    for unit, size in (("k", 1000), ("M", 1_000_000)):
        if count < 999.95 * size:
            return f"{count / size:.1f}{unit}"
    return f"{count / 1_000_000_000:.1f}G"
