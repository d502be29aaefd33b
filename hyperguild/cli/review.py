"""`hyperguild review`."""

from __future__ import annotations

from typing import Any

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options, wanted_of
from hyperguild.cli.options import Settings

EPILOG = """\b
Examples:
  hyperguild review                              what teaches most, first
  hyperguild review --skill review --since 7d --limit 50
  hyperguild review --label disputed --as anna   where others disagree
  printf 'g\\nb\\ns\\nq\\n' | hyperguild review

First come answers that a label calls otherwise than the verdict, then those
of which the judge was least sure: accepted with a low score, refused with a
high one. What you labelled already is left out.

\b
Keys: g good   b bad   n note, then g or b   s skip   u undo
      o whole text   ? help   q quit
Where stdin is no terminal, each line is one of them; a note follows on its
line: n misses the file handle.

\b
{FILTER_HELP}""".replace("{FILTER_HELP}", FILTER_HELP)


@click.command(epilog=EPILOG, short_help="Label attempts one by one, the most instructive first.")
@filter_options
@click.option("--as", "reviewer", metavar="NAME", help="Who says so [default: $HYPERGUILD_REVIEWER, or you].")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to go through."
)
@click.pass_obj
def review(settings: Settings, /, reviewer: str | None, limit: int, **chosen: Any) -> None:
    """Go through attempts one by one, and say of each whether its answer is good."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.keys import keys_of_stdin  # noqa: PLC0415
    from hyperguild.cli.reviewer import reviewer_of  # noqa: PLC0415
    from hyperguild.cli.reviewing import go_through  # noqa: PLC0415

    who = reviewer_of(reviewer, settings.env)
    go_through(settings, wanted_of(chosen, SystemClock().now()), who, limit, keys_of_stdin())
