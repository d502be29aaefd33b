"""`hyperguild sessions tail`."""

from __future__ import annotations

import asyncio
import sys

import click

from hyperguild.cli.interruption import INTERRUPTED
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import say

EPILOG = """\b
Examples:
  hyperguild sessions tail               every run, whoever makes it
  hyperguild sessions tail -n 0          only what happens from now on
  hyperguild sessions tail 3f2a91c0      one run until it ends, or one session
  hyperguild sessions tail --json | jq 'select(.type == "run.finished")'

A line tells that a run began, that an attempt is over, or that a run ended.
It goes on until Ctrl-C, which exits with 130 and says nothing, as with
`tail -f`; for one run until that has ended.

\b
--json prints JSON Lines: time, type, session_id and run_id, and with
  run.started       skill, chain, parent_run_id, task
  attempt.finished  attempt_id, attempt (as in the result object)
  run.finished      result (the result object)
"""


@click.command(epilog=EPILOG, short_help="Follow runs as they happen, in other processes too.")
@click.argument("reference", metavar="[ID]", required=False)
@click.option(
    "-n", "--recent", type=click.IntRange(min=0), default=3, show_default=True, help="Runs to begin with."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_obj
def tail(settings: Settings, /, reference: str | None, recent: int, *, as_json: bool) -> None:
    """Follow runs as they happen, in other processes too: all of them, those of a session, or one."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.following import follow  # noqa: PLC0415
    from hyperguild.cli.tail_lines import as_json_line, printer  # noqa: PLC0415

    tell = as_json_line if as_json else printer(settings.env)
    try:
        asyncio.run(follow(settings, reference, recent, tell, SystemClock()))
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            say("")  # ends the line on which the terminal shows ^C
        raise click.exceptions.Exit(INTERRUPTED) from None
