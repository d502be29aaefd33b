"""`hyperguild sessions`: its group, and list, show and repair; the others have modules of their own."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options, wanted_of
from hyperguild.cli.importing import import_runs
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.sessions_export import export
from hyperguild.cli.sessions_prune import prune
from hyperguild.cli.sessions_search import search
from hyperguild.cli.sessions_tail import tail
from hyperguild.cli.streams import say

Listed = Literal["sessions", "runs", "attempts"]

GROUP_EPILOG = """\b
Examples:
  hyperguild sessions list --skill review --status exhausted --since 7d
  hyperguild sessions show last           why the last run went as it did
  hyperguild sessions search "token bucket"
  hyperguild sessions tail                what happens, as it happens
  hyperguild sessions export --all > runs.jsonl
  hyperguild sessions prune --older-than 90d --keep labelled --dry-run

An ID is that of a session or of a run, the end of one (four characters or more), or last.
"""

LIST_EPILOG = """\b
Examples:
  hyperguild sessions list --limit 100
  hyperguild sessions list --skill review --status exhausted --since 7d
  hyperguild sessions list --runs --model phi4 --min-cost 0.05
  hyperguild sessions list --attempts --verdict escalate --label good
  hyperguild sessions list -S '"token bucket" retr*' --json | jq '.[].title'

\b
{FILTER_HELP}
\b
A run fits --model, --tier, --verdict and --label where one of its attempts
fits them all; a session fits where one of its runs does. Costs are those of
the run, with --attempts of the attempt. -S looks for all the words, in any
order; for "several words" in this order; for the beginning of a word: retr*.

\b
--json prints an array of objects. Of sessions: session_id, created_at, title,
runs (their number), skills, statuses (of the runs, oldest first) and
cost_usd. --runs: run_id, session_id, skill, chain, status, model, attempts,
cost_usd, created_at, excerpt and more. --attempts: attempt_id, run_id, model,
verdict, cause, score, label, excerpt and more.
""".replace("{FILTER_HELP}", FILTER_HELP)

SHOW_EPILOG = """\b
Examples:
  hyperguild sessions show                    the newest session
  hyperguild sessions show 3f2a91c0           by the end of an id
  hyperguild sessions show last --full        tasks and answers whole
  hyperguild sessions show last --attempt 2   an attempt, with its prompt
  hyperguild sessions show last --steps       every step: calls, results
  hyperguild sessions show --json | jq '.runs[].attempts[].verdict'

--json prints one object: session_id, created_at and runs, an array of
result objects with task, images (their number), created_at, finished_at,
steps and labels (what reviewers said, oldest first). With --attempt it prints that attempt, with its steps.

The bars of a run have one scale. Marks: ✓ accepted, ✗ refused, ! error,
– skipped.
"""

REPAIR_EPILOG = """\b
Examples:
  hyperguild sessions repair --dry-run    what is wrong, and what can be saved
  hyperguild sessions repair

What can be read goes to a new file, which takes the place of the damaged one;
that is kept beside it as NAME.damaged-TIME. A log that is whole is left alone,
and so is one that another process has open. --json prints one object: path,
healthy, dry_run, faults, tables (each with table, recovered and lost),
stand_ins (runs made up for attempts whose own is lost) and kept_as.
"""


@click.group(epilog=GROUP_EPILOG)
def sessions() -> None:
    """Look at the session log."""


@sessions.command("list", epilog=LIST_EPILOG)
@click.option("--runs", "what", flag_value="runs", help="List runs instead of sessions.")
@click.option("--attempts", "what", flag_value="attempts", help="List attempts.")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to list.")
@click.option("--after", metavar="CURSOR", help="Go on where a listing ended: it says how.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def list_sessions(
    settings: Settings, /, what: Listed | None, limit: int, after: str | None, *, as_json: bool, **chosen: Any
) -> None:
    """List sessions, runs or attempts, newest first."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.listing import newest  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.session_table import table_of  # noqa: PLC0415
    from hyperguild.cli.table import fill_table  # noqa: PLC0415
    from hyperguild.domain.review import EVERYTHING  # noqa: PLC0415

    now = SystemClock().now()
    wanted = wanted_of(chosen, now)
    found = asyncio.run(newest(settings, what or "sessions", wanted, limit, after))
    if as_json:
        print_json([item.model_dump(mode="json") for item in found.items])
    elif found.items:
        page = Page.for_stdout(settings.env)
        fill_table(page, table_of(found.items, now))
        page.print()
    elif wanted != EVERYTHING or after is not None:
        say(f"no {what or 'sessions'} fit")
    else:
        say(flat(f"no {what or 'sessions'} yet in {settings.db_file()}; `hyperguild run` makes the first"))
    if found.after is not None:
        say(f"there are more: --after {found.after}")


@sessions.command(epilog=SHOW_EPILOG, short_help="Show what was tried, and why it went so.")
@click.argument("reference", metavar="[ID]", default="last")
@click.option("--full", is_flag=True, help="Show tasks and answers whole.")
@click.option(
    "--attempt",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show this attempt of the newest run, with its prompt.",
)
@click.option("--steps", is_flag=True, help="Show every step: what was called, and what came of it.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def show(
    settings: Settings, /, reference: str, attempt: int | None, *, full: bool, steps: bool, as_json: bool
) -> None:
    """Show the runs of a session, or one run: what was tried, and why it went as it did.

    ID is that of a session or run, the end of one, or last.
    """
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.labelled import labelled_selection, session_object  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.session_page import Detail, fill_page, nth_attempt, steps_of  # noqa: PLC0415

    selection = asyncio.run(labelled_selection(settings, reference))
    if as_json and attempt is None:
        print_json(session_object(selection))
    elif as_json and attempt is not None:
        stored = selection.heads[-1]
        chosen = nth_attempt(stored, attempt)
        taken = [step.model_dump(mode="json") for step in steps_of(stored, chosen)]
        print_json(chosen.model_dump(mode="json") | {"steps": taken})
    else:
        page = Page.for_stdout(settings.env)
        fill_page(page, selection, Detail(whole=full, attempt=attempt, steps=steps), SystemClock().now())
        page.print()


@sessions.command(epilog=REPAIR_EPILOG)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def repair(settings: Settings, /, *, dry_run: bool, as_json: bool) -> None:
    """Save what can be read of a damaged session log."""
    from hyperguild.cli.log_repair import repair_log  # noqa: PLC0415  # start-up

    repair_log(settings, dry_run=dry_run, as_json=as_json)


for command in (search, tail, export, import_runs, prune):
    sessions.add_command(command)
