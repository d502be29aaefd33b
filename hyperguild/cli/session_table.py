"""What `sessions list` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len

from hyperguild.cli.output import dollars
from hyperguild.cli.page import Page, Part
from hyperguild.cli.session_page import STATUS_STYLES
from hyperguild.cli.when import ago
from hyperguild.domain.records import SessionSummary
from hyperguild.domain.text import one_line

SUFFIX = 8
"""Characters of an id that are shown: its random end, which finds it again."""


def fill_page(page: Page, sessions: Sequence[SessionSummary], now: datetime) -> None:
    """Put one session a row on the page; two rows where there is little room."""
    rows = [_cells(session, now) for session in sessions]
    if page.narrow:
        for row in rows:
            page.add(row[0], ("  ", ""), row[1], ("  ", ""), row[2], hang=2)
            page.add((one_line(f"{row[4][0]}: {row[5][0]}", page.width - 2), ""), indent=2)
        return
    header: list[Part] = [(name, "dim") for name in ("session", "when", "status", "cost", "skill", "task")]
    widths = [max(cell_len(row[column][0]) for row in [header, *rows]) for column in range(len(header) - 1)]
    for row in [header, *rows]:
        parts: list[Part] = []
        for (text, style), width in zip(row, widths, strict=False):
            parts += [(text, style), (" " * (width - cell_len(text) + 2), "")]
        room = page.width - sum(widths) - 2 * len(widths) if page.wraps else len(row[-1][0])
        page.row(*parts, (one_line(row[-1][0], max(room, 10)), row[-1][1]))


def _cells(session: SessionSummary, now: datetime) -> list[Part]:
    newest = session.statuses[-1] if session.statuses else None
    return [
        (session.session_id[-SUFFIX:], "bold"),
        (ago(session.created_at, now), ""),
        (_statuses(session), STATUS_STYLES[newest] if newest else ""),
        ("unknown" if session.cost_usd is None else dollars(session.cost_usd), ""),
        (one_line(", ".join(session.skills), 24), ""),
        (one_line(session.title or "–", 200), ""),
    ]


def _statuses(session: SessionSummary) -> str:
    counted = Counter(status.replace("_", " ") for status in session.statuses)
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counted.items())
