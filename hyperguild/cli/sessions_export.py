"""`hyperguild sessions export`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options, wanted_of
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import say
from hyperguild.errors import UsageError

FORMATS = ("jsonl", "json", "parquet", "openai")

EPILOG = """\b
Examples:
  hyperguild sessions export last
  hyperguild sessions export --all > runs.jsonl
  hyperguild sessions export --since 30d --format parquet -o runs.parquet
  hyperguild sessions export --label good --format openai -o train.jsonl
  hyperguild sessions export 3f2a91c0 --json | jq '.[0].task'

Options that choose, choose runs, as in `sessions list --runs`; oldest first.

\b
jsonl, json   each run is its result object with task, images (their number),
              created_at, finished_at, steps and labels: one a line, or all
              in an array
parquet       one row for each attempt, with the columns of its run; needs
              pyarrow: pip install 'hyperguild[review]'
openai        one line for each answer, to train on: {"messages": [system,
              user, assistant]}, the task as it was given. Answers that were
              accepted; with --label those that are labelled so, whatever the
              verdict. stderr tells how many were left out, and why

\b
{FILTER_HELP}""".replace("{FILTER_HELP}", FILTER_HELP)


@click.command(epilog=EPILOG, short_help="Write runs as JSON, Parquet or training examples.")
@click.argument("references", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Export every run.")
@filter_options
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="See below."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to this file, which is replaced once all is there.",
)
@click.pass_obj
def export(
    settings: Settings,
    /,
    references: tuple[str, ...],
    form: str,
    output: Path | None,
    *,
    every: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write runs for jq and other programs, for data frames, or to train models on.

    ID is that of a session or run, the end of one, or last.
    """
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.exporting import Choice, exported  # noqa: PLC0415
    from hyperguild.domain.review import EVERYTHING  # noqa: PLC0415

    wanted = wanted_of(chosen, SystemClock().now())
    if references and (every or wanted != EVERYTHING):
        raise UsageError("ids exclude --all and options that choose")
    if not references and not every and wanted == EVERYTHING:
        raise UsageError("nothing to export", hint="name sessions or runs, `last`, --all, or say which")
    form = "json" if as_json else form
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is nothing for a terminal", hint="name a file with --output")
    for line in asyncio.run(exported(settings, Choice(references, wanted), form, output)):
        say(line)
