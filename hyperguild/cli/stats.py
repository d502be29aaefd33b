"""`hyperguild stats`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options, wanted_of
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.cli.streams import say

if TYPE_CHECKING:
    # Start-up: these import pydantic.
    from hyperguild.domain.chain import Model
    from hyperguild.domain.review import ReviewFilter
    from hyperguild.review.statistics import By, Statistics

EPILOG = """\b
Examples:
  hyperguild stats                          by skill
  hyperguild stats --by model --since 7d    which model earns its place
  hyperguild stats --by day --skill review
  hyperguild stats --json | jq '.[] | {group, runs, saved}'

\b
{FILTER_HELP}
A run fits where one of its attempts does, and is counted with all of them.
Days are those of UTC, as those of budgets are.

"saved" is against the same runs answered by the last tier of their chain: at
what its answers cost on average for that chain and skill, else at its listed
price for the tokens of the answer that was accepted.

--json prints an array of objects, one a group; docs/review.md says what each
number is.
""".replace("{FILTER_HELP}", FILTER_HELP)


@click.command(epilog=EPILOG, short_help="Count runs: rates, latencies, cost, what was saved.")
@click.option(
    "--by",
    type=click.Choice(["skill", "chain", "model", "tier", "day"]),
    default="skill",
    show_default=True,
    help="What to group by.",
)
@filter_options
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def stats(settings: Settings, /, by: By, *, as_json: bool, **chosen: Any) -> None:
    """Count what the session log holds: how runs ended, how long they took, what they cost and saved."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.stats_page import fill_page  # noqa: PLC0415

    tiers, why_unknown = _last_tiers(settings)
    wanted = wanted_of(chosen, SystemClock().now())
    found = asyncio.run(_count(settings, by, wanted, tiers))
    if as_json:
        print_json([group.model_dump(mode="json") for group in found.groups])
    elif not found.groups:
        say("no such runs")
    else:
        page = Page.for_stdout(settings.env)
        fill_page(page, found, why_unknown)
        page.print()


async def _count(settings: Settings, by: By, wanted: ReviewFilter, tiers: Mapping[str, Model]) -> Statistics:
    from hyperguild.cli.review_log import meant, open_review  # noqa: PLC0415  # start-up
    from hyperguild.review.statistics import count_runs  # noqa: PLC0415

    async with open_review(settings) as store:
        return await count_runs(store.run_facts(await meant(store, wanted)), by, tiers)


def _last_tiers(settings: Settings) -> tuple[Mapping[str, Model], str | None]:
    """Return the models of the chains' last tiers; none, and why, where chains.yaml cannot be read."""
    from hyperguild.errors import ConfigError  # noqa: PLC0415  # start-up
    from hyperguild.review.savings import last_tiers  # noqa: PLC0415

    try:
        return last_tiers(settings.load(trusted=False).chains.values()), None
    except ConfigError as error:
        return {}, error.message
