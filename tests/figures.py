"""Figures that tests record, shown below the results of all of them.

`record_property(FIGURE, line)` is a line of text, `record_property(f"{ROW}{table}", row)` a row of a table.
"""

from __future__ import annotations

from collections.abc import Iterable

from _pytest.terminal import TerminalReporter

FIGURE = "figure"
"""The name of a property that is one line of text."""

ROW = "row of "
"""Begins the name of a property that is a row of a table: texts, the first of which sorts the rows."""


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Write the lines and tables that tests of all workers have recorded."""
    reports = (report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome))
    recorded = [named for report in reports for named in report.user_properties]
    tables = sorted({name for name, _ in recorded if name.startswith(ROW)})
    for table in tables:
        rows = sorted([str(cell) for cell in row] for name, row in recorded if name == table)
        terminalreporter.section(f"{table.removeprefix(ROW)}: {len(rows)} cases")
        for line in _lines(rows):
            terminalreporter.write_line(line)
    lines = [str(line) for name, line in recorded if name == FIGURE]
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)


def _lines(rows: list[list[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
