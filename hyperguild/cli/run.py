"""`hyperguild run` and `rerun`."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from contextlib import ExitStack
from typing import Any

import click

from hyperguild.bootstrap import Guild, open_guild
from hyperguild.cli.dry_run import preview, print_preview
from hyperguild.cli.log_reading import open_log
from hyperguild.cli.logs import open_log_sink
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_answer, print_json
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

RUN_EPILOG = """\b
Examples:
  hyperguild run explain "what does git rebase --onto do?"
  hyperguild run review -f src/app.py -f src/db.py
  git diff --staged | hyperguild run commit-message
  hyperguild run summarize - < notes.txt
  hyperguild run review -f app.py --json | jq .attempts
  hyperguild run review -f app.py --dry-run
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """How a run is shown and kept."""

    as_json: bool = False
    as_events: bool = False
    private: bool = False


def chain_options(command: Any) -> Any:
    """Add the options that choose and bound the chain."""
    for option in reversed(
        [
            click.option("--chain", "chain_name", metavar="NAME", help="Chain to walk."),
            click.option("--model", "model_name", metavar="NAME", help="Ask this model only."),
            click.option("--local", is_flag=True, help="Leave out every tier that is not local."),
            click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="Spend no more."),
            click.option(
                "--deadline", type=click.FloatRange(min=0), metavar="SECONDS", help="Take no longer."
            ),
        ]
    ):
        command = option(command)
    return command


def output_options(command: Any) -> Any:
    """Add the options that say how a run is shown and kept."""
    for option in reversed(
        [
            click.option("--json", "as_json", is_flag=True, help="Print the result object."),
            click.option("--events", "as_events", is_flag=True, help="Print events as JSON Lines."),
            click.option("--private", is_flag=True, help="Log nothing of the content."),
        ]
    ):
        command = option(command)
    return command


@click.command(epilog=RUN_EPILOG)
@click.argument("skill")
@click.argument("task", required=False)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Attach a file; - is stdin.")
@chain_options
@click.option("--session", "session_ref", metavar="ID", help="Group with that session's runs.")
@click.option("--history", is_flag=True, help="Put the session's accepted turns before the task.")
@output_options
@click.option("--dry-run", is_flag=True, help="Show what would be tried; call no model.")
@click.pass_obj
def run(settings: Settings, /, skill: str, task: str | None, files: tuple[str, ...], **options: Any) -> None:
    """Answer TASK with SKILL, by the cheapest model that is good enough.

    TASK is read from standard input when it is - or missing. The answer goes to stdout, progress to stderr.
    """
    session_ref, history = options.pop("session_ref"), options.pop("history")
    dry_run = options.pop("dry_run")
    output = Output(**{key: options.pop(key) for key in ("as_json", "as_events", "private")})
    if output.as_json and output.as_events:
        raise UsageError("--json and --events exclude each other", hint="the last event carries the result")
    if history and session_ref is None:
        raise UsageError("--history needs --session", hint="--session last continues the newest session")
    configuration = settings.load()
    loaded = settings.catalog(configuration.path).get(skill)
    request = RunRequest(
        skill=loaded.name,
        system_prompt="",
        task=read_task(
            task,
            files,
            stdin_is_terminal=sys.stdin.isatty(),
            read_stdin=sys.stdin.buffer.read,
        ),
        chain=chosen_chain(configuration, skill, ChainOptions(**options)),
    )
    request = dataclasses.replace(request, system_prompt=loaded.system_prompt(request.task.text))
    if dry_run:
        plan = asyncio.run(preview(configuration, request, settings.env))
        print_json(plan) if output.as_json else print_preview(plan)
        return
    execute(settings, configuration, request, output, session_ref=session_ref, history=history)


@click.command()
@click.argument("run_ref", metavar="RUN")
@click.option("--from", "from_model", metavar="MODEL", help="Begin at this tier of the chain.")
@chain_options
@output_options
@click.pass_obj
def rerun(settings: Settings, /, run_ref: str, from_model: str | None, **options: Any) -> None:
    """Run the task of RUN again, in its session. RUN is an id, a unique suffix of one, or `last`."""
    output = Output(**{key: options.pop(key) for key in ("as_json", "as_events", "private")})
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
        click.echo(event.model_dump_json())


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
        from hyperguild.adapters.store.sqlite import SqliteSessionStore  # noqa: PLC0415  # start-up

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
