"""How values are put on a terminal: cleaned text, durations, money, JSON."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from hyperguild.domain.text import cleaned

_ACTIVE_IN_JSON = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What `json.dumps` leaves as it is though a terminal acts on it; lines stay lines for every reader."""


def seconds(ms: int | None) -> str:
    """Return milliseconds as a person reads them: `340 ms`, `2.1 s`, `3 min 20 s`; a dash for None."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    minutes, rest = divmod(round(ms / 1000), 60)
    return f"{minutes} min {rest} s"


def dollars(cost_usd: float | None) -> str:
    """Return a cost: `$0` for nothing, four digits for less than a dollar, `unknown` for None."""
    if cost_usd is None:
        return "cost unknown"
    if cost_usd == 0:
        return "$0"
    return f"${cost_usd:.4f}" if cost_usd < 1 else f"${cost_usd:.2f}"


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return the value as JSON, characters as they are but those that a terminal would act on."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _ACTIVE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, indented on a terminal, on one line elsewhere."""
    click.echo(json_text(value, indent=2 if sys.stdout.isatty() else None))


def print_answer(text: str) -> None:
    """Print an answer on stdout: as it is into a pipe or file, cleaned on a terminal."""
    shown = cleaned(text) if sys.stdout.isatty() else text
    click.echo(shown, nl=not shown.endswith("\n"))
