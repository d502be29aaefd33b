"""`hyperguild demo`: a chain at work on a machine that has nothing but this package."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat
from hyperguild.errors import UsageError

DEMO_EPILOG = """\b
Examples:
  hyperguild demo
  hyperguild demo "3 mars 2024"                  a date of your own
  hyperguild demo --json | jq '.[].output'
  hyperguild sessions show last                  why it went so

\b
The models are three tiny ones that belong to the package. They need the extra
`embedded`; without it, simulated models review a Python function instead.
"""

TRIAL = "Trying whether models run on this machine …\n"


@click.command(epilog=DEMO_EPILOG)
@click.argument("date", required=False)
@click.option("--simulated", is_flag=True, help="Play it with simulated models.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object, or an array of them.")
@click.option("--events", "as_events", is_flag=True, help="Print events as JSON Lines.")
@click.pass_obj
def demo(settings: Settings, /, date: str | None, simulated: bool, as_json: bool, as_events: bool) -> None:
    """Walk a chain of tiny real models: they say dates as YYYY-MM-DD, err, are judged, and escalate.

    DATE is in English, German, French, Spanish or Italian; without it, a handful shows each outcome.
    """
    if as_json and as_events:
        raise UsageError("--json and --events exclude each other", hint="the last event carries the result")
    if simulated and date is not None:
        raise UsageError("the simulated models know nothing of dates", hint="leave out --simulated, or DATE")
    if date is not None and not date.strip():
        raise UsageError("the date is empty", hint='for example: hyperguild demo "3 mars 2024"')
    if not simulated:
        click.echo(TRIAL, err=True)  # first of all: what follows takes a second or more
    from hyperguild.cli.demo_real import run_real, why_not_real  # noqa: PLC0415  # start-up
    from hyperguild.cli.demo_simulated import run_simulated  # noqa: PLC0415
    from hyperguild.cli.execution import Output  # noqa: PLC0415

    output = Output(as_json=as_json, as_events=as_events)
    obstacle = None if simulated else why_not_real()
    if obstacle is not None and date is not None:
        raise UsageError(f"a date needs models that run here: {obstacle.message}", hint=obstacle.hint)
    if obstacle is not None:
        remedy = f" ({obstacle.hint})" if obstacle.hint else ""
        click.echo(
            flat(f"No real models here, so this is the simulated demo: {obstacle.message}{remedy}") + "\n",
            err=True,
        )
    if simulated or obstacle is not None:
        failure = run_simulated(settings, output)
    else:
        failure = run_real(settings, date, output)
    click.echo(f"\nWhy it went so: {_command(settings, 'sessions', 'show', 'last')}", err=True)
    click.echo(f"In the browser: {_command(settings, 'review', '--web')}", err=True)
    if failure is not None:
        raise failure


def _command(settings: Settings, *arguments: str) -> str:
    """Return a command that shows these runs, as it must be typed here."""
    import shutil  # noqa: PLC0415  # start-up
    import sys  # noqa: PLC0415

    program = Path(sys.argv[0])
    on_path = shutil.which("hyperguild")
    if on_path and program.exists() and Path(on_path).resolve() == program.resolve():
        words = ["hyperguild"]
    elif program.name == "hyperguild":
        words = [_short(program)]
    else:
        words = [sys.executable, "-m", "hyperguild"]
    if settings.db is not None:
        words += ["--db", str(settings.db)]
    return shlex.join([*words, *arguments])


def _short(program: Path) -> str:
    """Return the path as seen from the working directory, where it lies below that."""
    try:
        return str(program.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(program)
