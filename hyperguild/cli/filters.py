"""The options that choose runs and attempts, alike for all commands that look at the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hyperguild.cli.moments import moment_at, read_moment
from hyperguild.cli.numbers import FiniteRange

if TYPE_CHECKING:
    # Start-up: pydantic is imported only once a command runs.
    from hyperguild.domain.review import ReviewFilter

F = TypeVar("F", bound=Callable[..., Any])

STATUSES = (
    "accepted",
    "exhausted",
    "best_effort",
    "budget_exceeded",
    "cancelled",
    "running",
    "interrupted",
    "awaiting_tools",
)
COST = FiniteRange(min=0)

_FIELDS = {
    "skill": "skills",
    "chain": "chains",
    "model": "models",
    "tier": "tiers",
    "verdict": "verdicts",
    "status": "statuses",
    "label": "labels",
    "min_cost": "min_cost_usd",
    "max_cost": "max_cost_usd",
    "text": "text",
    "session": "session_id",
}
"""Option → field of `ReviewFilter`."""

_OPTIONS = (
    click.option("--skill", multiple=True, metavar="NAME", help="Of this skill (repeatable, as all are)."),
    click.option("--chain", multiple=True, metavar="NAME", help="Of this chain."),
    click.option("--model", multiple=True, metavar="NAME", help="Tried with this model."),
    click.option(
        "--tier", multiple=True, type=click.Choice(["local", "managed", "subagent"]), help="Tried there."
    ),
    click.option(
        "--verdict",
        multiple=True,
        type=click.Choice(["accept", "escalate", "error", "skip"]),
        help="With such an attempt.",
    ),
    click.option(
        "--status",
        multiple=True,
        type=click.Choice(STATUSES),
        metavar="STATUS",
        help="Ended so: accepted, exhausted, best_effort, budget_exceeded, cancelled, interrupted,"
        " awaiting_tools; or running.",
    ),
    click.option(
        "--label",
        multiple=True,
        type=click.Choice(["good", "bad", "disputed", "none"]),
        help="What reviewers said; none: nothing yet.",
    ),
    click.option("--min-cost", type=COST, metavar="USD", help="Cost this or more."),
    click.option("--max-cost", type=COST, metavar="USD", help="Cost this or less."),
    click.option("--since", callback=read_moment, metavar="TIME", help="Begun then or later: 2h, 7d, …"),
    click.option("--until", callback=read_moment, metavar="TIME", help="Begun before."),
    click.option("--session", metavar="ID", help="Of this session."),
)
_TEXT = click.option("-S", "--search", "text", metavar="TEXT", help="With these words in task or answer.")

FILTER_HELP = """\
Times are a length of time ago (90s, 5m, 2h, 7d, 2w), a date, or ISO 8601, in
the local time zone unless they name one.
"""


def filter_options(command: F) -> F:
    """Add the options that choose; their values are for `wanted_of`."""
    return _with_options(command, (*_OPTIONS, _TEXT))


def filter_options_without_text(command: F) -> F:
    """Add the options that choose, for a command that takes the text as an argument."""
    return _with_options(command, _OPTIONS)


def wanted_of(chosen: Mapping[str, Any], now: datetime) -> ReviewFilter:
    """Return what the options choose; its `session_id` is still as it was typed.

    Names are compared as they are. Nothing chosen: everything.
    """
    from hyperguild.domain.review import ReviewFilter  # noqa: PLC0415  # start-up

    fields = {_FIELDS[name]: value for name, value in chosen.items() if name in _FIELDS and value is not None}
    for name in ("since", "until"):
        if chosen.get(name) is not None:
            fields[name] = moment_at(chosen[name], now)
    return ReviewFilter(**fields)


def _with_options(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
