"""The lines of `sessions tail`, for a person and for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console

from hyperguild.cli.following import Happening, Tell
from hyperguild.cli.output import json_text
from hyperguild.cli.page import Page, Part, joined
from hyperguild.cli.session_page import STATUS_STYLES
from hyperguild.cli.session_table import SUFFIX
from hyperguild.cli.view import COLOURS, MARKS
from hyperguild.domain.outcomes import outcome
from hyperguild.domain.records import Attempt, StoredRun
from hyperguild.domain.telling import dollars, seconds
from hyperguild.domain.text import one_line

TASK_CHARS = 200


def as_json_line(happening: Happening) -> None:
    """Print what happened as one line of JSON."""
    run, result = happening.run, happening.run.result
    told: dict[str, Any] = {
        "time": happening.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "type": happening.kind,
        "session_id": result.session_id,
        "run_id": result.run_id,
    }
    if happening.attempt is not None:
        told |= {
            "attempt_id": happening.attempt.attempt_id,
            "attempt": happening.attempt.model_dump(mode="json"),
        }
    elif happening.kind == "run.started":
        told |= {"skill": result.skill, "chain": result.chain}
        told |= {"parent_run_id": run.parent_run_id, "task": run.task}
    else:
        told["result"] = result.model_dump(mode="json")
    click.echo(json_text(told))


def printer(env: Mapping[str, str]) -> Tell:
    """Return what prints a line for a person: cut to the terminal, and coloured there; whole elsewhere."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)

    def tell(happening: Happening) -> None:
        page = Page.for_stdout(env)  # each time: a terminal may change its size
        line = joined(*parts_of(happening))
        if page.wraps:
            line.truncate(page.width, overflow="ellipsis")
        if page.styled:
            console.print(line, soft_wrap=True)
        else:
            click.echo(line.plain.rstrip())

    return tell


def parts_of(happening: Happening) -> list[Part]:
    """Return what happened: time of day, end of the run's id, then what it was."""
    result = happening.run.result
    told = [
        (happening.time.astimezone().strftime("%H:%M:%S"), "dim"),
        ("  ", ""),
        (result.run_id[-SUFFIX:], "bold"),
        ("  ", ""),
    ]
    if happening.attempt is not None:
        return [*told, *_of_attempt(happening.attempt)]
    begins = happening.kind == "run.started"
    return [
        *told,
        *(_of_beginning(happening.run) if begins else _of_end(happening.run)),
    ]


def _of_beginning(run: StoredRun) -> list[Part]:
    delegated = f" for {run.parent_run_id[-SUFFIX:]}" if run.parent_run_id is not None else ""
    task = one_line(run.task, TASK_CHARS) if run.task is not None else "(task not stored)"
    return [
        ("▶ ", "cyan"),
        (one_line(run.result.skill, 60), "bold"),
        (f"{delegated}, chain {one_line(run.result.chain, 60)}  ", "dim"),
        (task, ""),
    ]


def _of_attempt(attempt: Attempt) -> list[Part]:
    style = COLOURS[attempt.verdict]
    spent = [] if attempt.verdict == "skip" else [seconds(attempt.duration_ms), dollars(attempt.cost_usd)]
    return [
        (f"{MARKS[attempt.verdict]} ", style),
        (one_line(attempt.model, 60), "bold"),
        (f"  {outcome(attempt)}", style),
        ("".join(f" · {part}" for part in spent), "dim"),
    ]


def _of_end(run: StoredRun) -> list[Part]:
    result = run.result
    style = STATUS_STYLES[result.status]
    who = f": {one_line(result.model, 60)}" if result.model is not None else ""
    spent = f" · {seconds(result.duration_ms)} · {dollars(result.cost_usd)}"
    return [("■ ", style), (f"{result.status.replace('_', ' ')}{who}", style), (spent, "dim")]
