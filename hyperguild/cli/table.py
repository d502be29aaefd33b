"""Rows of what was found, one under the other: wide as a table, narrow with two rows each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from hyperguild.cli.page import Page, Part
from hyperguild.domain.text import one_line

LEAST_ROOM = 20
"""Columns. With less for the last cell, a table says too little of what it is about."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by row, as many as there are names in the `header`; the last one is cut to what room there is.

    `briefly` are the columns that stand in the first row where there is little room, before the last two.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Part]]
    briefly: Sequence[int]


def fill_table(page: Page, table: Table) -> None:
    """Put a table on the page; two rows for each of its own where there is little room."""
    header: list[Part] = [(name, "dim") for name in table.header]
    rows = [header, *table.rows]
    widths = [max(cell_len(row[column][0]) for row in rows) for column in range(len(header) - 1)]
    room = page.width - sum(widths) - 2 * len(widths)
    if page.narrow or (page.wraps and room < LEAST_ROOM):
        _one_under_the_other(page, table)
        return
    for row in rows:
        parts: list[Part] = []
        for (text, style), width in zip(row, widths, strict=False):
            parts += [(text, style), (" " * (width - cell_len(text) + 2), "")]
        text, style = row[-1]
        page.row(*parts, (one_line(text, room if page.wraps else max(len(text), 1)), style))


def _one_under_the_other(page: Page, table: Table) -> None:
    for row in table.rows:
        parts: list[Part] = []
        for column in table.briefly:
            if row[column][0]:
                parts += [*([("  ", "")] if parts else []), row[column]]
        page.add(*parts, hang=2)
        page.add((one_line(f"{row[-2][0]}: {row[-1][0]}", page.width - 2), ""), indent=2)
