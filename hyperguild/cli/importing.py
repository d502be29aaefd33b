"""`hyperguild sessions import`: recorded runs from files into the session log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.streams import say
from hyperguild.errors import ConfigError, UsageError

if TYPE_CHECKING:
    # Start-up: what reads and writes runs is imported once the command runs.
    from collections.abc import Iterator
    from datetime import datetime

    from hyperguild.domain.review import ImportedRun
    from hyperguild.review.importing import Format, RouteLlmTerms

BATCH = 500
"""Runs that are written in one transaction: a fraction of a second, in which other runs wait."""

IMPORT_EPILOG = """\b
Examples:
  hyperguild sessions export --all > runs.jsonl
  hyperguild --db other.db sessions import runs.jsonl
  hyperguild sessions import gsm8k_responses.csv.gz \\
    --leave-out contaminated_prompts.jsonl --rename gpt-4-1106-preview=strong

\b
jsonl     what `sessions export` writes: runs as they were, with their labels
routellm  RouteLLM's responses (CSV): a run for each prompt and model, with one
          attempt, labelled good or bad by the reviewer routellm. Such a file
          knows no tokens, times or prices: they stay unknown.

Files may be packed by gzip. Each is read to its end before anything of it is
written; runs that are there already are passed over. --json prints an array of
objects with file, format, imported and present.
"""


@click.command("import", epilog=IMPORT_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "routellm", "jsonl"]),
    default="auto",
    show_default=True,
    help="What the files are.",
)
@click.option("--skill", default="gsm8k", show_default=True, metavar="NAME", help="Skill of routellm's runs.")
@click.option(
    "--rename", multiple=True, metavar="MODEL=NAME", help="Call a model of the file so (repeatable)."
)
@click.option(
    "--leave-out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Pass over the prompts listed there: JSON Lines with eval_prompt.",
)
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def import_runs(settings: Settings, /, files: tuple[Path, ...], **options: Any) -> None:
    """Read recorded runs from FILEs into the session log."""
    from hyperguild.review.importing import RouteLlmTerms, format_of, left_out_prompts  # noqa: PLC0415

    terms = RouteLlmTerms(
        skill=options["skill"],
        names=_names(options["rename"]),
        left_out=left_out_prompts(options["leave_out"]) if options["leave_out"] else frozenset(),
    )
    forms = [format_of(file) if options["form"] == "auto" else options["form"] for file in files]
    done = asyncio.run(_import_all(settings, list(zip(files, forms, strict=True)), terms))
    if options["as_json"]:
        print_json(done)
        return
    for one in done:
        present = f"; {one['present']} there already" if one["present"] else ""
        runs = "run" if one["imported"] == 1 else "runs"
        say(flat(f"{one['file']}: {one['imported']} {runs} imported{present}"))


def _names(renames: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.rpartition("=") for one in renames]
    for model, _, name in pairs:
        if not model or not name:
            raise UsageError("--rename wants MODEL=NAME", hint="such as gpt-4-1106-preview=strong")
    return {model: name for model, _, name in pairs}


def _warn_of_age(settings: Settings, file: Path, ages: list[datetime], now: datetime) -> None:
    """Say where the next run, which tidies the log, would delete what is imported."""
    from datetime import timedelta  # noqa: PLC0415  # start-up

    from hyperguild.domain.chain import LogPolicy  # noqa: PLC0415

    try:
        keep_days = settings.load(trusted=False).log.keep_days
    except ConfigError:
        keep_days = LogPolicy().keep_days
    old = 0 if keep_days is None else sum(now - age > timedelta(days=keep_days) for age in ages)
    if old:
        runs, them = ("run is", "it") if old == 1 else ("runs are", "them")
        say(
            flat(
                f"warning: {file}: {old} {runs} older than log.keep_days ({keep_days}):"
                f" the next run deletes {them}; raise it in chains.yaml to keep {them}"
            )
        )


async def _import_all(
    settings: Settings, files: list[tuple[Path, Format]], terms: RouteLlmTerms
) -> list[dict[str, Any]]:
    """Import the files one after the other; return what became of each."""
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.adapters.store.importing import RunImporter  # noqa: PLC0415
    from hyperguild.cli.review_log import secrets_of  # noqa: PLC0415

    now = SystemClock().now()

    def runs_of(file: Path, form: Format) -> Iterator[ImportedRun]:
        from hyperguild.review.importing import exported_runs, routellm_runs  # noqa: PLC0415

        return routellm_runs(file, terms, now) if form == "routellm" else exported_runs(file)

    done = []
    for file, form in files:
        ages = [run.run.created_at for run in runs_of(file, form)]  # a bad line is found before it is written
        _warn_of_age(settings, file, ages, now)
        importer = await RunImporter.open(settings.db_file(), scrubber=secrets_of(settings))
        try:
            imported = 0
            batch: list[ImportedRun] = []
            for run in runs_of(file, form):
                batch.append(run)
                if len(batch) == BATCH:
                    imported += await importer.add(batch, same_tail=form == "routellm")
                    batch = []
            imported += await importer.add(batch, same_tail=form == "routellm")
        finally:
            await importer.aclose()
        done.append(
            {"file": str(file), "format": form, "imported": imported, "present": len(ages) - imported}
        )
    return done
