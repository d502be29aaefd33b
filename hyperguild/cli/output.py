"""How values are put on a terminal: cleaned text, durations, money, JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from hyperguild.cli.streams import say
from hyperguild.domain.text import cleaned, revealed


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return the value as JSON, characters as they are but those that a terminal would act on."""
    # `json.dumps` leaves some that a terminal acts on; lines stay lines for every reader.
    return revealed(json.dumps(value, ensure_ascii=False, indent=indent))


def flat(text: str) -> str:
    """Return the text cleaned, on one line: no line of what is shown is of a stranger's making."""
    return " ".join(cleaned(text).split("\n"))


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, indented on a terminal, on one line elsewhere."""
    click.echo(json_text(value, indent=2 if sys.stdout.isatty() else None))


def print_answer(text: str) -> None:
    """Print an answer on stdout: as it is into a pipe or file, cleaned on a terminal; a line feed ends it."""
    shown = cleaned(text) if sys.stdout.isatty() else text
    # click.echo would take colours out of what goes into a pipe.
    sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")
    sys.stdout.flush()


def warn(message: str | None) -> None:
    """Say a warning on stderr, where there is one."""
    if message is not None:
        say(f"warning: {flat(message)}")
