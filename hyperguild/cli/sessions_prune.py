"""`hyperguild sessions prune`."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta

import click

from hyperguild.cli.moments import moment_at, read_moment
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.cli.streams import say
from hyperguild.errors import UsageError

EPILOG = """\b
Examples:
  hyperguild sessions prune --older-than 90d --keep labelled --dry-run
  hyperguild sessions prune --older-than 90d --keep labelled
  hyperguild sessions prune --older-than 2026-01-01 --skill review --yes

Runs go with their attempts, steps, labels and the runs that they delegated; a
session goes when no run is left of it. What is under way stays. What is
deleted is overwritten; the file keeps its size, and new runs use the room.

\b
--json prints one object: runs, attempts, sessions, kept (runs that are old
enough, but labelled or under way) and dry_run.
`log.keep_days` in chains.yaml does the same by itself, labels or not.
"""


@click.command(epilog=EPILOG, short_help="Delete old runs.")
@click.option(
    "--older-than",
    callback=read_moment,
    metavar="TIME",
    required=True,
    help="Begun before: 90d, 2w, 2026-01-01.",
)
@click.option("--keep", type=click.Choice(["labelled"]), help="Keep runs with a labelled attempt.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="Only of this skill (repeatable).")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def prune(
    settings: Settings,
    /,
    older_than: datetime | timedelta,
    keep: str | None,
    skills: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete runs that began before a time, for good."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.pruning import Wish, pruned, told  # noqa: PLC0415

    wish = Wish(moment_at(older_than, SystemClock().now()), keep_labelled=keep is not None, skills=skills)
    if not dry_run and not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "nobody is there to be asked whether to delete", hint="--dry-run says what, --yes deletes"
            )
        expected = asyncio.run(pruned(settings, wish, dry_run=True))
        say(told(expected))
        if not expected.runs or not click.confirm("Delete for good?", err=True):
            return
    found = asyncio.run(pruned(settings, wish, dry_run=dry_run))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        click.echo(told(found))
