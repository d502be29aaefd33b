"""Executes requests: opens guild and log, shows the walk, prints the result."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.cli.approval import open_approver
from hyperguild.cli.interruption import INTERRUPTED, Interruption
from hyperguild.cli.logs import open_log_sink
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_answer, print_json
from hyperguild.cli.sinks import Fan, JsonLines, LastResult, OnStderr
from hyperguild.cli.streams import say, silence
from hyperguild.cli.tool_files import awaiting
from hyperguild.cli.view import PlainView, open_view
from hyperguild.config.configuration import Configuration
from hyperguild.domain.records import RunError, RunResult, UnrecordedRunError
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.text import one_line
from hyperguild.errors import HyperguildError, StoreError
from hyperguild.orchestration.resume import Continuation
from hyperguild.ports import EventSink, SessionStore
from hyperguild.requests import (
    ConfiguredSkills,
    turns_of,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """How a run is shown and kept."""

    as_json: bool = False
    as_events: bool = False
    private: bool = False

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Output:
        """Take the options of output, by parameter name, out of all of them."""
        return cls(**{key: options.pop(key) for key in ("as_json", "as_events", "private")})


def execute(
    settings: Settings,
    configuration: Configuration,
    request: RunRequest,
    output: Output,
    *,
    session_ref: str | None = None,
    history: bool = False,
) -> None:
    """Run the request and print its answer, or the result object whatever becomes of the run.

    Raises `RunError`, `StoreError` (an answer that cannot be recorded is printed first), and
    `HyperguildError` where the answer cannot be written. Once a cancelled run is recorded: click's `Exit`,
    for all is said; `KeyboardInterrupt` where nothing had begun.
    """
    series = Series((request,), session_ref=session_ref, history=history)
    outcome = execute_series(settings, configuration, series, output)
    if outcome.failure is not None:
        raise outcome.failure


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Requests to run one after the other, whatever becomes of those before, over one guild and one log.

    `session_ref` names the session of all of them, else they open one; with `history` its accepted turns go
    before each task. `announce` is called with each request before it runs. `continuation` is where a single
    request goes on with its run.
    """

    requests: tuple[RunRequest, ...]
    session_ref: str | None = None
    history: bool = False
    announce: Callable[[RunRequest], None] | None = None
    continuation: Continuation | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a series came to: every result, in order, and the error of the first run that failed."""

    results: tuple[RunResult, ...]
    failure: RunError | None


def execute_series(
    settings: Settings, configuration: Configuration, series: Series, output: Output
) -> Outcome:
    """Run the requests and print each answer; or at the end the result object, of several an array.

    A run that ends without an answer does not end the series. Raises as `execute` does, but for `RunError`.
    """
    with Interruption() as interruption:
        job = _Job(settings, configuration, output, interruption)
        try:
            asyncio.run(job.perform(series))
        except asyncio.CancelledError:
            raise job.end_of_cancelled() from None
        except StoreError as error:
            if not job.cancelled:
                raise
            say(f"warning: {one_line(error.message, 400)}")
            raise job.end_of_cancelled() from None
    return job.outcome


class _Job:
    def __init__(
        self, settings: Settings, configuration: Configuration, output: Output, interruption: Interruption
    ) -> None:
        self._settings = settings
        self._configuration = configuration
        self._output = output
        self._interruption = interruption
        self._lines = JsonLines(sys.stdout, interruption.cancel) if output.as_events else None
        self._approver = open_approver()
        self._ended: list[RunResult] = []
        self._failure: RunError | None = None

    async def perform(self, series: Series) -> None:
        """Run the requests; print what comes of them at once, so that no later fault can lose it."""
        scrubber = Scrubber()
        with self._interruption.cancels_this_task():
            async with open_guild(
                self._configuration, self._settings.env, scrubber, approver=self._approver
            ) as opened:
                catalog = self._settings.catalog(self._configuration.path)
                guild = opened.delegating_to(ConfiguredSkills(self._configuration, catalog))
                store = await self._open_store(guild, scrubber)
                try:
                    await self._run_all(guild, series, store)
                finally:
                    await store.aclose()

    @property
    def outcome(self) -> Outcome:
        """What the runs that have ended came to."""
        return Outcome(tuple(self._ended), self._failure)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled: by a signal, or because its events can no longer be printed."""
        return self._interruption.begun or (self._lines is not None and self._lines.failure is not None)

    def end_of_cancelled(self) -> BaseException:
        """Return what ends the command once a cancelled run is recorded."""
        failure = self._lines.failure if self._lines is not None else None
        if self._interruption.begun and self._ended:
            # The summary has ended the line on which a terminal shows ^C.
            say("error: interrupted")
            return click.exceptions.Exit(INTERRUPTED)
        if failure is None or self._interruption.begun:
            return KeyboardInterrupt()
        if isinstance(failure, BrokenPipeError):
            return click.exceptions.Exit(INTERRUPTED)
        return _AnswerLostError(f"cannot write the answer: {failure.strerror or failure}")

    async def _run_all(self, guild: OpenGuild, series: Series, store: SessionStore) -> None:
        several = len(series.requests) > 1
        try:
            for request in series.requests:
                placed = await self._in_session(store, request, series)
                if series.announce is not None:
                    series.announce(placed)
                await self._run(guild, placed, store, series.continuation)
                if self.cancelled:
                    break  # the reader of the events has left as the run ended
        except (asyncio.CancelledError, StoreError):
            try:
                self._print_objects(as_array=several)
            except _AnswerLostError as error:
                say(f"warning: {flat(error.message)}")
            raise
        self._print_objects(as_array=several)

    async def _run(
        self,
        guild: OpenGuild,
        request: RunRequest,
        store: SessionStore,
        continuation: Continuation | None,
    ) -> None:
        last = LastResult()
        try:
            with ExitStack() as stack:
                result = await guild.run(request, store, self._sinks(stack, last), continuation)
        except RunError as error:
            self._ended.append(error.result)
            self._failure = self._failure or error
            return
        except asyncio.CancelledError:
            if last.result is not None:
                self._ended.append(last.result)
            raise
        except UnrecordedRunError as error:
            self._ended.append(error.result)
            if error.result.output is not None:
                self._print_answer(error.result)
            raise
        self._ended.append(result)
        if result.status == "awaiting_tools":
            self._failure = self._failure or awaiting(result)
            return
        self._print_answer(result)

    def _print_answer(self, result: RunResult) -> None:
        if not self._output.as_json and not self._output.as_events:
            with _reader_may_leave():
                print_answer(result.output or "")
        if result.status == "best_effort":
            say("warning: best effort: no tier was accepted; this is the best refused answer")

    def _print_objects(self, *, as_array: bool) -> None:
        if self._output.as_json and self._ended:
            objects = [result.model_dump(mode="json") for result in self._ended]
            with _reader_may_leave():
                print_json(objects if as_array else objects[0])

    async def _open_store(self, guild: OpenGuild, scrubber: Scrubber) -> SessionStore:
        log = self._configuration.log
        if self._output.private:
            log = dataclasses.replace(log, content="none")
        return await SqliteSessionStore.open(
            self._settings.db_file(), scrubber=scrubber, log=log, clock=guild.clock
        )

    async def _in_session(self, store: SessionStore, request: RunRequest, series: Series) -> RunRequest:
        if request.work is not None and self._output.private:
            request = dataclasses.replace(request, work=dataclasses.replace(request.work, private=True))
        if series.session_ref is None:
            opened = self._ended[0].session_id if self._ended else None
            return dataclasses.replace(request, session_id=request.session_id or opened)
        session_id = await store.resolve_session(series.session_ref)
        turns = turns_of(await store.session_runs(session_id)) if series.history else ()
        return dataclasses.replace(request, session_id=session_id, history=turns)

    def _sinks(self, stack: ExitStack, last: LastResult) -> Fan:
        sinks: list[EventSink] = [last]
        if self._lines is not None:
            sinks.append(self._lines)
        log_sink = open_log_sink(self._settings)
        if log_sink is not None:
            sinks.append(OnStderr(log_sink))
        if self._settings.log_format == "human":
            # Events on the same terminal would be drawn into the live view.
            plain = self._output.as_events and sys.stdout.isatty()
            view = PlainView() if plain else open_view()
            if self._approver is not None:
                self._approver.view = view
            sinks.append(stack.enter_context(OnStderr(view)))
        return Fan(sinks)


class _AnswerLostError(HyperguildError):
    """What the run came to cannot be printed."""


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Print for as long as somebody reads: what became of the run, the exit code says all the same.

    Raises `_AnswerLostError` where it cannot be written for another reason, such as a full disk.
    """
    try:
        yield
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        raise _AnswerLostError(f"cannot write the answer: {error.strerror or error}") from error
