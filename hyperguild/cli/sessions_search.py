"""`hyperguild sessions search`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options_without_text, wanted_of
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.cli.streams import say

EPILOG = """\b
Examples:
  hyperguild sessions search "file handle"          both words, in any order
  hyperguild sessions search '"file handle"'        one after the other
  hyperguild sessions search 'retr*' --since 7d     words that begin so
  hyperguild sessions search deadlock --skill review --verdict escalate
  hyperguild sessions search TODO --json | jq -r '.[].run_id'

\b
{FILTER_HELP}
--json prints an array of objects: run_id, session_id, attempt_id (null: found
in the task), skill, model, created_at and excerpt, an array of texts of which
the second, fourth … are those that were found.
""".replace("{FILTER_HELP}", FILTER_HELP)


@click.command(epilog=EPILOG, short_help="Find words in tasks and answers.")
@click.argument("text")
@filter_options_without_text
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to list.")
@click.option("--after", metavar="CURSOR", help="Go on where a listing ended: it says how.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def search(
    settings: Settings, /, text: str, limit: int, after: str | None, *, as_json: bool, **chosen: Any
) -> None:
    """Find words in tasks and answers, the newest first.

    All words must be there, in whatever order and case; "words in quotes" one after the other; a word that
    ends in * is a beginning.
    """
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.listing import hits  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.search_page import fill_hits  # noqa: PLC0415
    from hyperguild.errors import UsageError  # noqa: PLC0415

    if not text.strip():
        raise UsageError("nothing to search for", hint="give some words")
    now = SystemClock().now()
    found = asyncio.run(hits(settings, wanted_of({**chosen, "text": text}, now), limit, after))
    if as_json:
        print_json([hit.model_dump(mode="json") for hit in found.items])
    elif found.items:
        page = Page.for_stdout(settings.env)
        fill_hits(page, found.items, now)
        page.print()
    if found.after is not None:
        say(f"there are more: --after {found.after}")
    elif not found.items:
        say("nothing found")
