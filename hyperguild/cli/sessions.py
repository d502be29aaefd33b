"""`hyperguild sessions`: list, show, export, repair."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.streams import say
from hyperguild.errors import UsageError

GROUP_EPILOG = """\b
Examples:
  hyperguild sessions list
  hyperguild sessions show last           why the last run went as it did
  hyperguild sessions show last --full
  hyperguild sessions export --all > runs.jsonl

An ID is that of a session or of a run, the end of one (four characters or more), or last.
"""

LIST_EPILOG = """\b
Examples:
  hyperguild sessions list --limit 100
  hyperguild sessions list --json | jq '.[] | {title, statuses}'

--json prints an array of objects with session_id, created_at, title, runs
(their number), skills, statuses (of the runs, oldest first) and cost_usd.
"""

SHOW_EPILOG = """\b
Examples:
  hyperguild sessions show                    the newest session
  hyperguild sessions show 3f2a91c0           by the end of an id
  hyperguild sessions show last --full        tasks and answers whole
  hyperguild sessions show last --attempt 2   an attempt, with its prompt
  hyperguild sessions show last --steps       every step: calls, results
  hyperguild sessions show --json | jq '.runs[].attempts[].verdict'

--json prints one object: session_id, created_at and runs, an array of
result objects with task, images (their number), created_at, finished_at and
steps. With --attempt it prints that attempt, with its steps.

The bars of a run have one scale. Marks: ✓ accepted, ✗ refused, ! error,
– skipped.
"""

EXPORT_EPILOG = """\b
Examples:
  hyperguild sessions export last
  hyperguild sessions export --all > runs.jsonl
  hyperguild sessions export 3f2a91c0 --json | jq '.[0].task'

Each run is its result object with task, images (their number), created_at,
finished_at and steps: one a line (jsonl), or all in an array (json).
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
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to list.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def list_sessions(settings: Settings, /, limit: int, *, as_json: bool) -> None:
    """List the newest sessions, newest first."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.log_reading import newest_sessions  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.session_table import fill_page  # noqa: PLC0415

    # One more than is shown tells whether there are more.
    found = asyncio.run(newest_sessions(settings, limit + 1))
    if as_json:
        print_json([session.model_dump(mode="json") for session in found[:limit]])
        return
    if not found:
        say(flat(f"no sessions yet in {settings.db_file()}; `hyperguild run` makes the first"))
        return
    page = Page.for_stdout(settings.env)
    fill_page(page, found[:limit], SystemClock().now())
    page.print()
    if len(found) > limit:
        say(f"there are older ones: --limit {2 * limit}")


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
    from hyperguild.cli.log_reading import selected, session_object  # noqa: PLC0415
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.cli.session_page import Detail, fill_page, nth_attempt, steps_of  # noqa: PLC0415

    selection = asyncio.run(selected(settings, reference))
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


@sessions.command(epilog=EXPORT_EPILOG)
@click.argument("references", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Export every run.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "json"]),
    default="jsonl",
    show_default=True,
    help="One run a line, or an array.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_obj
def export(
    settings: Settings, /, references: tuple[str, ...], form: str, *, every: bool, as_json: bool
) -> None:
    """Print runs as JSON, for jq and other programs.

    ID is that of a session or run, the end of one, or last.
    """
    if every and references:
        raise UsageError("--all and ids exclude each other")
    if not every and not references:
        raise UsageError("nothing to export", hint="name sessions or runs, `last`, or --all")
    asyncio.run(_export(settings, references, as_lines=form == "jsonl" and not as_json))


@sessions.command(epilog=REPAIR_EPILOG)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def repair(settings: Settings, /, *, dry_run: bool, as_json: bool) -> None:
    """Save what can be read of a damaged session log."""
    from hyperguild.cli.log_repair import repair_log  # noqa: PLC0415  # start-up

    repair_log(settings, dry_run=dry_run, as_json=as_json)


async def _export(settings: Settings, references: tuple[str, ...], *, as_lines: bool) -> None:
    """Print the runs as they are read; an array only when all are."""
    from hyperguild.cli.log_reading import every_run, run_object, runs_of  # noqa: PLC0415  # start-up
    from hyperguild.cli.output import json_text  # noqa: PLC0415

    kept: list[dict[str, Any]] = []
    async with aclosing(runs_of(settings, references) if references else every_run(settings)) as runs:
        async for stored in runs:
            if as_lines:
                click.echo(json_text(run_object(stored)))
            else:
                kept.append(run_object(stored))
    if not as_lines:
        print_json(kept)
