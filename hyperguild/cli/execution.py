"""Does what `run` and `rerun` ask for: opens guild and log, shows the walk, prints the result."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from contextlib import ExitStack
from typing import Any

import click

from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import Guild, open_guild
from hyperguild.cli.dry_run import preview, print_preview
from hyperguild.cli.log_reading import open_log
from hyperguild.cli.logs import open_log_sink
from hyperguild.cli.options import Settings
from hyperguild.cli.output import json_text, print_answer, print_json
from hyperguild.cli.request import ChainOptions, chosen_chain
from hyperguild.cli.task_input import read_task
from hyperguild.cli.view import open_view
from hyperguild.config.configuration import Configuration
from hyperguild.domain.events import Event, RunFinished
from hyperguild.domain.messages import Message
from hyperguild.domain.records import RunError, RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.errors import UsageError
from hyperguild.ports import EventSink, SessionStore


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """How a run is shown and kept."""

    as_json: bool = False
    as_events: bool = False
    private: bool = False


def run_skill(
    settings: Settings, skill: str, task: tuple[str | None, tuple[str, ...]], options: dict[str, Any]
) -> None:
    """Run the skill, or show what would be tried.

    `task` is the argument and the attached files; `options` are those of `hyperguild run`, by parameter name,
    and are used up. Raises `HyperguildError`, and `KeyboardInterrupt` once a cancelled run is recorded.
    """
    session_ref, history = options.pop("session_ref"), options.pop("history")
    dry_run = options.pop("dry_run")
    output = _output(options)
    configuration = settings.load()
    loaded = settings.catalog(configuration.path).get(skill)
    request = RunRequest(
        skill=loaded.name,
        system_prompt="",
        task=read_task(*task, stdin_is_terminal=sys.stdin.isatty(), read_stdin=sys.stdin.buffer.read),
        chain=chosen_chain(configuration, skill, ChainOptions(**options)),
    )
    request = dataclasses.replace(request, system_prompt=loaded.system_prompt(request.task.text))
    if dry_run:
        plan = asyncio.run(preview(configuration, request, settings.env))
        print_json(plan) if output.as_json else print_preview(plan)
        return
    execute(settings, configuration, request, output, session_ref=session_ref, history=history)


def run_again(settings: Settings, run_ref: str, from_model: str | None, options: dict[str, Any]) -> None:
    """Run a logged run's task again; takes options and raises as `run_skill` does."""
    output = _output(options)
    configuration = settings.load()
    stored = asyncio.run(_stored_run(settings, run_ref))
    if stored.task is None:
        raise UsageError(
            "the task of that run was not stored", hint="it ran with --private, or log.content is not full"
        )
    loaded = settings.catalog(configuration.path).get(stored.result.skill)
    options["chain_name"] = options["chain_name"] or _known_chain(configuration, stored.result.chain)
    chain = chosen_chain(configuration, loaded.name, ChainOptions(**options, from_model=from_model))
    request = RunRequest(
        skill=loaded.name,
        system_prompt=loaded.system_prompt(stored.task),
        task=Task(stored.task),
        chain=chain,
        session_id=stored.result.session_id,
    )
    execute(settings, configuration, request, output)


def execute(
    settings: Settings,
    configuration: Configuration,
    request: RunRequest,
    output: Output,
    *,
    session_ref: str | None = None,
    history: bool = False,
) -> None:
    """Run the request and print its answer. Raises `RunError` after the result object was printed."""
    job = _Job(settings, configuration, output)
    try:
        result = asyncio.run(job.perform(request, session_ref, history=history))
    except RunError as error:
        if output.as_json:
            print_json(error.result.model_dump(mode="json"))
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        if output.as_json and job.last.result is not None:
            print_json(job.last.result.model_dump(mode="json"))
        raise KeyboardInterrupt from None
    if output.as_json:
        print_json(result.model_dump(mode="json"))
    elif not output.as_events:
        print_answer(result.output or "")
    if result.status == "best_effort":
        click.echo("warning: best effort: no tier was accepted; this is the best refused answer", err=True)


class _LastResult:
    """Keeps the result of the run, which a cancelled run cannot return."""

    def __init__(self) -> None:
        self.result: RunResult | None = None

    def emit(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.result = event.result


class _JsonLines:
    """Prints events on stdout as they happen."""

    def emit(self, event: Event) -> None:
        click.echo(json_text(event.model_dump(mode="json")))


class _Fan:
    """Hands every event to several sinks."""

    def __init__(self, sinks: list[EventSink]) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink.emit(event)


class _Job:
    def __init__(self, settings: Settings, configuration: Configuration, output: Output) -> None:
        self._settings = settings
        self._configuration = configuration
        self._output = output
        self.last = _LastResult()

    async def perform(self, request: RunRequest, session_ref: str | None, *, history: bool) -> RunResult:
        task = asyncio.current_task()
        if task is not None and sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        scrubber = Scrubber()
        async with open_guild(self._configuration, self._settings.env, scrubber) as guild:
            store = await self._open_store(guild, scrubber)
            try:
                request = await self._in_session(store, request, session_ref, history=history)
                with ExitStack() as stack:
                    return await guild.run(request, store, self._sinks(stack))
            finally:
                await store.aclose()

    async def _open_store(self, guild: Guild, scrubber: Scrubber) -> SessionStore:
        log = self._configuration.log
        if self._output.private:
            log = dataclasses.replace(log, content="none")
        return await SqliteSessionStore.open(
            self._settings.db_file(), scrubber=scrubber, log=log, clock=guild.clock
        )

    async def _in_session(
        self, store: SessionStore, request: RunRequest, session_ref: str | None, *, history: bool
    ) -> RunRequest:
        if session_ref is None:
            return request
        session_id = await store.resolve_session(session_ref)
        turns: list[Message] = []
        if history:
            for stored in await store.session_runs(session_id):
                if stored.result.status == "accepted" and stored.task and stored.result.output:
                    turns += [Message("user", stored.task), Message("assistant", stored.result.output)]
        return dataclasses.replace(request, session_id=session_id, history=tuple(turns))

    def _sinks(self, stack: ExitStack) -> _Fan:
        sinks: list[EventSink] = [self.last]
        if self._output.as_events:
            sinks.append(_JsonLines())
        log_sink = open_log_sink(self._settings)
        if log_sink is not None:
            sinks.append(log_sink)
        if self._settings.log_format == "human":
            view = open_view()
            stack.enter_context(view)
            sinks.append(view)
        return _Fan(sinks)


def _output(options: dict[str, Any]) -> Output:
    """Take the options of output out of all of them."""
    return Output(**{key: options.pop(key) for key in ("as_json", "as_events", "private")})


async def _stored_run(settings: Settings, reference: str) -> StoredRun:
    async with open_log(settings) as store:
        run_id = await store.resolve_run(reference)
        stored = await store.run(run_id)
    if stored is None:
        raise UsageError(f"no run {reference}")
    return stored


def _known_chain(configuration: Configuration, name: str) -> str | None:
    """Return the chain's name, or None where chains.yaml no longer has it (or it was made by --model)."""
    return name if name in configuration.chains else None
