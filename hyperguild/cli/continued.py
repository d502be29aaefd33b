"""Does what `run --continue` asks for."""

from __future__ import annotations

import asyncio
from typing import Any

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.bootstrap import known_secrets
from hyperguild.cli.execution import Output, Series, execute_series
from hyperguild.cli.log_reading import open_log
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat
from hyperguild.cli.streams import say
from hyperguild.cli.task_input import read_stdin
from hyperguild.cli.tool_files import read_tool_results
from hyperguild.continuing import Means, Terms, going_on, unfinished
from hyperguild.domain.records import StoredRun


def continue_run(settings: Settings, options: dict[str, Any]) -> None:
    """Go on with the unfinished run of a session; `options` are those of `run` that may be given, by name.

    Raises `UsageError` where there is none or it cannot go on; else as `execution.execute` does.
    """
    terms = Terms(
        results=read_tool_results(options["tool_results"], read_stdin),
        max_cost=options["max_cost"],
        deadline=options["deadline"],
    )
    configuration = settings.load()
    stored = asyncio.run(_unfinished(settings, options["session_ref"] or "last"))
    means = Means(
        configuration,
        settings.catalog(configuration.path).get,
        known_secrets(configuration, settings.env),
        system_ids(SystemClock()).new_id,
    )
    going = going_on(stored, means, terms)
    for warning in going.warnings:
        say(f"warning: {flat(warning)}")
    series = Series((going.request,), continuation=going.continuation)
    output = Output(as_json=options["as_json"], as_events=options["as_events"])
    outcome = execute_series(settings, configuration, series, output)
    if outcome.failure is not None:
        raise outcome.failure


async def _unfinished(settings: Settings, reference: str) -> StoredRun:
    async with open_log(settings) as store:
        return unfinished(await store.session_runs(await store.resolve_session(reference)))
