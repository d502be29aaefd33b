"""Does what `hyperguild sessions repair` asks for, and says what came of it."""

from __future__ import annotations

from dataclasses import asdict

import click

from hyperguild import __version__
from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.repair import Repair, repair
from hyperguild.cli.log_reading import existing_log
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.streams import say


def repair_log(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Repair the session log, or with `dry_run` say what would be saved.

    Raises `UsageError` where there is none yet, and `StoreError`.
    """

    def tell(done: Repair) -> None:
        _print(done, dry_run=dry_run, as_json=as_json)
        say("waiting for processes that may have opened the damaged file meanwhile: a few seconds")

    done = repair(
        existing_log(settings),
        program_version=__version__,
        now=SystemClock().now(),
        dry_run=dry_run,
        tell=tell,
    )
    if done.kept_as is None:
        _print(done, dry_run=dry_run, as_json=as_json)


def _print(done: Repair, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            asdict(done)
            | {
                "path": str(done.path),
                "healthy": not done.faults,
                "dry_run": dry_run,
                "kept_as": None if done.kept_as is None else str(done.kept_as),
            }
        )
        return
    for line in _told(done, dry_run=dry_run):
        click.echo(flat(line))


def _told(done: Repair, *, dry_run: bool) -> list[str]:
    if not done.faults:
        return [f"{done.path} is healthy: there is nothing to repair"]
    lines = [f"{done.path} is damaged:", *(f"  {fault}" for fault in done.faults)]
    lines.append("could be saved:" if dry_run else "saved:")
    width = max((len(table.table) for table in done.tables), default=0)
    for table in done.tables:
        lost = f", {table.lost} lost" if table.lost else ""
        lines.append(f"  {table.table:<{width}} {table.recovered}{lost}")
    if done.stand_ins:
        lines.append(f"{_runs(done.stand_ins)} made up for attempts whose own run is lost")
    if done.kept_as is not None:
        lines.append(f"the damaged file is kept as {done.kept_as}")
    return lines


def _runs(number: int) -> str:
    return "1 run was" if number == 1 else f"{number} runs were"
