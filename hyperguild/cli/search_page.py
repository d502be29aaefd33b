"""What `sessions search` prints: where a text was found, the words that were found marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from hyperguild.cli.page import Page, Part
from hyperguild.cli.session_table import SUFFIX
from hyperguild.domain.review import Hit
from hyperguild.domain.telling import ago
from hyperguild.domain.text import cleaned

FOUND = "bold yellow"
BLANKS = re.compile(r"\s+")


def fill_hits(page: Page, hits: Sequence[Hit], now: datetime) -> None:
    """Put hits on the page: run, where in it, how long ago, skill; then the text around."""
    for number, hit in enumerate(hits):
        if number:
            page.gap()
        where = f"answer of {hit.model}" if hit.attempt_id is not None else "task"
        attempt = f" {hit.attempt_id[-SUFFIX:]}" if hit.attempt_id is not None else ""
        page.add(
            (hit.run_id[-SUFFIX:], "bold"),
            (f"  {ago(hit.created_at, now)}  {hit.skill}  ", ""),
            (f"{where}{attempt}", "dim"),
            hang=2,
        )
        page.add(*marked(hit.excerpt), indent=page.indent)


def marked(excerpt: Sequence[str]) -> list[Part]:
    """Return an excerpt as parts of one line, those that were found in their style."""
    parts: list[Part] = []
    for number, text in enumerate(excerpt):
        # Not stripped: the blanks at the seams belong there.
        shown = BLANKS.sub(" ", cleaned(text))
        parts.append((shown, FOUND if number % 2 else ""))
    return parts
