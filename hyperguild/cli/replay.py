"""`hyperguild replay`: its options. `replaying` does what they ask for."""

from __future__ import annotations

import math
from typing import Any

import click

from hyperguild.cli.moments import read_moment
from hyperguild.cli.numbers import FiniteRange
from hyperguild.cli.options import Settings
from hyperguild.errors import UsageError

CHAINS_MAX = 2
"""Chains that are shown side by side."""

REPLAY_EPILOG = """\b
Examples:
  hyperguild replay --skill review                    the skill's chain as it is
  hyperguild replay --skill review --accept-at 0.85   beside a stricter judge
  hyperguild replay --chain code --chain other.yaml:code --since 30d
  hyperguild replay --chain code --verifier perfect   the best a judge could do
  hyperguild replay --chain code --live --max-cost 0.50

\b
Runs of the log are joined into tasks by skill and task. Each task is walked
through the chain over what is on record of each model: checks run again on
recorded answers, the judge's recorded score and word meet the chain's
accept_at, recorded errors fall back. What is not on record is said, and counts
as unknown; --live fills it with real calls.

\b
A chain is a NAME of chains.yaml, another FILE, or FILE:NAME.
Verifiers: recorded (checks and judges), perfect (labels), random:SHARE (refuses
that share of all answers). Intervals have 95 %: Wilson's for shares, normal for
means; nothing is drawn.

--json prints one object: tasks, verifier, chains (one object each) and
difference (the second less the first; null for one chain).
"""


def read_verifier(ctx: click.Context, param: click.Parameter, value: str) -> str | float:
    """Read `recorded`, `perfect` or `random:SHARE`: the name, or the share."""
    kind, _, written = value.partition(":")
    try:
        share = float(written)
    except ValueError:
        share = math.nan
    if kind == "random" and not 0 <= share <= 1:
        raise click.BadParameter(f"{value!r} names no share between 0 and 1", ctx, param)
    if kind != "random" and value not in {"recorded", "perfect"}:
        raise click.BadParameter(f"{value!r} is none of recorded, perfect and random:SHARE", ctx, param)
    return share if kind == "random" else kind


@click.command(epilog=REPLAY_EPILOG)
@click.option(
    "--chain", "chains", multiple=True, metavar="NAME|FILE[:NAME]", help="Chain to replay (up to two)."
)
@click.option("--accept-at", type=FiniteRange(0, 1), metavar="SCORE", help="Another threshold.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="Runs of this skill (repeatable).")
@click.option(
    "--since", callback=read_moment, metavar="TIME", help="Runs begun then or later: 2h, 7d, 2026-11-01."
)
@click.option("--until", callback=read_moment, metavar="TIME", help="Runs begun before.")
@click.option(
    "--verifier",
    callback=read_verifier,
    default="recorded",
    show_default=True,
    metavar="recorded|perfect|random:SHARE",
    help="Who accepts.",
)
@click.option("--live", is_flag=True, help="Fill what is missing with real calls; needs --max-cost.")
@click.option("--max-cost", type=FiniteRange(min=0), metavar="USD", help="What --live may spend at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def replay(settings: Settings, /, chains: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Show what recorded runs would be under another chain, threshold or judge order."""
    if len(chains) > CHAINS_MAX:
        raise UsageError(f"--chain takes {CHAINS_MAX} chains at most", hint="replay the others after them")
    if options["live"] and options["max_cost"] is None:
        raise UsageError("--live needs --max-cost", hint="--max-cost 0 asks only models that cost nothing")
    if options["max_cost"] is not None and not options["live"]:
        raise UsageError("--max-cost needs --live", hint="a replay from the record costs nothing")
    if options["live"] and options["verifier"] != "recorded":
        raise UsageError("--live needs --verifier recorded", hint="the others take no judge's word")
    from hyperguild.cli.replaying import run_replay  # noqa: PLC0415  # start-up

    run_replay(settings, chains, options, as_json=as_json)
