"""`hyperguild calibrate`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hyperguild.cli.moments import read_moment
from hyperguild.cli.numbers import FiniteRange
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.streams import say

if TYPE_CHECKING:
    # Start-up: these import pydantic.
    from hyperguild.cli.threshold_edits import Edits
    from hyperguild.config.configuration import Configuration
    from hyperguild.domain.review import ReviewFilter
    from hyperguild.review.calibration import Calibration, Wanted

EPILOG = """\b
Examples:
  hyperguild calibrate
  hyperguild calibrate --skill review --target-false-accept 0.02
  hyperguild calibrate --write             change chains.yaml so
  hyperguild calibrate --json | jq '.[] | {judge, skill, finding, proposal}'

Label attempts first: `hyperguild review` walks through them. A false accept is
a bad answer that was accepted; the target is the share of bad answers.

--json prints an array of objects, one for each judge and skill; docs/review.md
says what each number is.
"""

SHARE = FiniteRange(0.0001, 1, max_open=True)  # LEAST_TARGET; its module is imported later
CONFIDENCE = FiniteRange(0.5, 1, max_open=True)


@click.command(epilog=EPILOG, short_help="Measure judges; propose their thresholds.")
@click.option("--skill", multiple=True, metavar="NAME", help="Of this skill (repeatable).")
@click.option("--judge", multiple=True, metavar="NAME", help="Of this judge (repeatable).")
@click.option("--since", callback=read_moment, metavar="TIME", help="Runs begun then or later: 2h, 7d, …")
@click.option("--until", callback=read_moment, metavar="TIME", help="Runs begun before.")
@click.option(
    "--target-false-accept",
    "target",
    type=SHARE,
    metavar="SHARE",
    default=0.05,
    show_default=True,
    help="Share of bad answers that may be accepted.",
)
@click.option(
    "--confidence",
    type=CONFIDENCE,
    metavar="SHARE",
    default=0.95,
    show_default=True,
    help="How sure that is to be.",
)
@click.option("--write", is_flag=True, help="Change chains.yaml as proposed.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def calibrate(
    settings: Settings, /, target: float, confidence: float, *, write: bool, as_json: bool, **chosen: Any
) -> None:
    """Measure judges against what reviewers said of the answers, and propose thresholds (accept_at)."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.calibration_page import fill_edits, fill_page  # noqa: PLC0415
    from hyperguild.cli.filters import wanted_of  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.threshold_edits import proposed_edits  # noqa: PLC0415
    from hyperguild.review.calibration import Wanted  # noqa: PLC0415

    configuration, why_not = _configuration(settings, needed=write)
    period = wanted_of({name: chosen[name] for name in ("since", "until")}, SystemClock().now())
    wanted = Wanted(false_accepts=target, confidence=confidence)
    every = asyncio.run(_calibrate(settings, period, wanted, configuration))
    found = _selected(every, chosen["skill"], chosen["judge"])
    edits = None if configuration is None else proposed_edits(configuration, found, every)
    if as_json:
        print_json([_object(one, edits) for one in found])
    elif not found:
        say("no such judge has scored an answer on record")
    else:
        page = Page.for_stdout(settings.env)
        fill_page(page, found, wanted)
        fill_edits(page, edits, why_not, written=write)
        page.print()
    if write and edits is not None and edits.changes:
        edits.write()
        say(flat(f"changed {edits.path}"))


async def _calibrate(
    settings: Settings, period: ReviewFilter, wanted: Wanted, configuration: Configuration | None
) -> tuple[Calibration, ...]:
    from hyperguild.cli.review_log import open_review  # noqa: PLC0415  # start-up
    from hyperguild.review.calibration import calibrate_runs  # noqa: PLC0415
    from hyperguild.review.tuning import threshold_now  # noqa: PLC0415

    def now_of(judge: str, chains: Sequence[str]) -> float | None:
        return None if configuration is None else threshold_now(configuration, judge, chains)

    async with open_review(settings) as store:
        return await calibrate_runs(store.run_facts(period), wanted, now_of)


def _configuration(settings: Settings, *, needed: bool) -> tuple[Configuration | None, str | None]:
    """Return chains.yaml; unless it is `needed` None, and why, where it cannot be read."""
    from hyperguild.errors import ConfigError  # noqa: PLC0415  # start-up

    try:
        return settings.load(trusted=False), None
    except ConfigError as error:
        if needed:
            raise
        return None, error.message


def _object(one: Calibration, edits: Edits | None) -> dict[str, Any]:
    """Return a calibration as JSON, with the `edits` that its skill has a part in."""
    tunings = [tuning for tuning in (edits.tunings if edits else ()) if one.skill in tuning.skills]
    return one.model_dump(mode="json") | {"edits": [dataclasses.asdict(tuning) for tuning in tunings]}


def _selected(
    every: Sequence[Calibration], skills: Sequence[str], judges: Sequence[str]
) -> tuple[Calibration, ...]:
    return tuple(
        one
        for one in every
        if (not skills or one.skill in skills) and (not judges or set(one.judge.split(", ")) & set(judges))
    )
