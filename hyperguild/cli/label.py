"""`hyperguild label`."""

from __future__ import annotations

import asyncio
from typing import Literal

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json

EPILOG = """\b
Examples:
  hyperguild label last good                    the answer of the last run
  hyperguild label 3f2a91c0:2 bad               the second attempt of a run
  hyperguild label 77c0be12 bad --note "misses the file handle"
  hyperguild label last none                    take back what I said

An ATTEMPT is the id of one, the end of it (four characters or more), RUN:N,
or a run or last: its answer, or where it has none its last attempt.
What each reviewer said before stays on record, and the newest word counts;
where as many say good as bad, an attempt is disputed.

\b
--json prints one object: label_id, attempt_id, reviewer, value, note and
created_at, with run_id, model, verdict, score and label (what all come to).
"""


@click.command(epilog=EPILOG, short_help="Say whether an attempt's answer is good.")
@click.argument("reference", metavar="ATTEMPT")
@click.argument("value", type=click.Choice(["good", "bad", "none"]))
@click.option("--note", default="", metavar="TEXT", help="Why.")
@click.option("--as", "reviewer", metavar="NAME", help="Who says so [default: $HYPERGUILD_REVIEWER, or you].")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def label(
    settings: Settings,
    /,
    reference: str,
    value: Literal["good", "bad", "none"],
    note: str,
    reviewer: str | None,
    *,
    as_json: bool,
) -> None:
    """Say whether an attempt's answer is good or bad; none takes it back."""
    from hyperguild.cli.labelling import add_label, told  # noqa: PLC0415  # start-up
    from hyperguild.cli.reviewer import reviewer_of  # noqa: PLC0415

    who = reviewer_of(reviewer, settings.env)
    labelled = asyncio.run(
        add_label(settings, reference, None if value == "none" else value, reviewer=who, note=note)
    )
    if as_json:
        print_json(labelled.as_object())
    else:
        click.echo(flat(told(labelled)))
