"""The demo with models: the package's tiny fleet says dates as YYYY-MM-DD."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import click
from rich.cells import cell_len

from hyperguild.adapters.embedded.process import ServerProcess
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.cli.execution import Output, Series, execute_series
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import say
from hyperguild.cli.view import MARKS
from hyperguild.config.loader import load_config
from hyperguild.domain.chain import Chain
from hyperguild.domain.records import Attempt, RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import Task
from hyperguild.domain.telling import dollars
from hyperguild.domain.text import one_line
from hyperguild.domain.usage import total_cost_usd
from hyperguild.errors import ModelError, ModelTimeoutError
from hyperguild.requests import ChainOptions, chosen_chain
from hyperguild.simulation.process import FleetProcess
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.tiny_fleet import tiny_fleet_dir

CLOUD_VARIABLE = "HYPERGUILD_DEMO_CLOUD"
"""Where the fleet's chains.yaml reads the address of the cloud."""

DATES = (
    "3. März 2024",
    "third of March, twenty twenty-four",
    "31 Feb 2023",
    "2 days after 27 Feb 2024",
)
"""One is accepted at once; two are refused by the judge and mended by the next model;
the last one is refused twice and answered by the cloud."""

INTRODUCTION = """\
Three tiny language models run here, each in a llama.cpp server of its own.
They know one task: to say a date, however it is written, as YYYY-MM-DD.

  apprentice   0.3 MB  is asked first; right on 75 of 100 dates
  judge        3.1 MB  reads its answers; lets 13 of 100 wrong ones pass, and
                       refuses 2 of 100 right ones
  journeyman   2.2 MB  is asked where the judge refused; right on 96 of 100

They are real, and so are the load times, the escalations and the log. What
comes last is not: fake-cloud is a process here that has prepared answers.
"""

DATE_CHARS = 76
"""Of a date that is shown; the models read no more than 100 bytes."""

NOT_PREPARED = "fake-cloud knows the demo's own dates alone; `hyperguild init` sets up a real one"
"""What to do where both local models were refused."""


TRIAL_LIMIT_S = 15.0
"""Time for starting the smallest model, which takes half a second: the rest is room for a busy machine."""


def why_not_real(limit_s: float = TRIAL_LIMIT_S) -> ModelError | None:
    """Start the smallest model and stop it again; return why that did not work, None where it did.

    What takes longer than `limit_s` did not work; a server that hangs is killed.
    """
    spec = ServerSpec(tiny_fleet_dir() / "apprentice.gguf", context_tokens=512, threads=1)

    async def start_and_stop() -> None:
        async with asyncio.timeout(limit_s):
            server = await ServerProcess.start(spec)
        await server.stop()

    try:
        asyncio.run(start_and_stop())
    except ModelError as error:
        return error
    except TimeoutError:
        return ModelTimeoutError(f"a model that was started for trial was not up within {limit_s:g} s")
    return None


def run_real(settings: Settings, date: str | None, output: Output) -> RunError | None:
    """Run the date, or `DATES`, in one session, and print the answers.

    Returns why the first run that failed did. Raises as `execute_series` does.
    """
    say(INTRODUCTION.rstrip())
    folder = tiny_fleet_dir()
    dates = DATES if date is None else (date,)
    with FleetProcess(folder / "cloud.yaml") as cloud:
        env = {**settings.env, CLOUD_VARIABLE: f"{cloud.url}/anthropic"}
        configuration = load_config(folder / "chains.yaml", env)
        skill = SkillCatalog((folder / "skills",)).get("iso-date")
        chain = chosen_chain(configuration, skill.name, ChainOptions())
        requests = tuple(
            RunRequest(skill.name, skill.system_prompt(text), Task(text), chain) for text in dates
        )
        outcome = execute_series(settings, configuration, Series(requests, announce=_announce), output)
    _summarise(chain, dates, outcome.results)
    if outcome.failure is not None and _cloud_had_nothing(outcome.failure.result):
        outcome.failure.hint = NOT_PREPARED
    return outcome.failure


def _bold(text: str) -> str:
    return click.style(text, bold=True) if sys.stderr.isatty() else text


def _announce(request: RunRequest) -> None:
    say(f"\n{_bold(one_line(request.task.text, DATE_CHARS))}")


def _summarise(chain: Chain, dates: Sequence[str], results: Sequence[RunResult]) -> None:
    """Print a table: a line for each date, a column for each model, and what it all cost."""
    rows = [["", *(tier.model.name for tier in chain.tiers)]]
    for date, result in zip(dates, results, strict=False):
        said = {attempt.position: _said(attempt) for attempt in result.attempts}
        rows.append([one_line(date, 34), *(said.get(tier.position, "") for tier in chain.tiers)])
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    say("")
    for row in rows:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        say("  ".join(padded).rstrip())
    if len(results) > 1:
        here = sum(1 for result in results if result.tier == "local")
        spent = dollars(total_cost_usd(result.cost_usd for result in results))
        say(f"\n{here} of {len(results)} answered here · cost {spent}")


def _said(attempt: Attempt) -> str:
    return f"{one_line(attempt.answer, 12) or 'nothing'} {MARKS[attempt.verdict]}"


def _cloud_had_nothing(result: RunResult) -> bool:
    last = result.attempts[-1] if result.attempts else None
    return last is not None and last.tier == "subagent" and last.cause == "bad_request"
