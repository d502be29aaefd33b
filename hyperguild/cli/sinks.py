"""Where the events of a run go besides the session log: the result that is kept, stdout, stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TextIO

import click

from hyperguild.cli.delegated import DelegatedRuns
from hyperguild.cli.output import json_text
from hyperguild.cli.streams import silence
from hyperguild.domain.events import Event, RunFinished
from hyperguild.domain.records import RunResult
from hyperguild.ports import EventSink


class LastResult:
    """Keeps the result of the run, which a cancelled run cannot return."""

    def __init__(self) -> None:
        self.result: RunResult | None = None
        self._delegated = DelegatedRuns()

    def emit(self, event: Event) -> None:
        """Take the result out of the run's last event."""
        if not self._delegated.take(event) and isinstance(event, RunFinished):
            self.result = event.result


class JsonLines:
    """Prints events on a stream as they happen.

    When the stream breaks (`| head`), `failure` says how, `stop` is called once unless the run is over, and
    all later events are dropped.
    """

    def __init__(self, stream: TextIO, stop: Callable[[], object]) -> None:
        # Taken at the start: the live view puts another stream in place of sys.stdout while it is shown.
        self._stream = stream
        self._stop = stop
        self._delegated = DelegatedRuns()
        self.failure: OSError | None = None

    def emit(self, event: Event) -> None:
        """Print one line."""
        delegated = self._delegated.take(event)
        if self.failure is not None:
            return
        try:
            click.echo(json_text(event.model_dump(mode="json")), file=self._stream)
        except OSError as error:
            self.failure = error
            silence(self._stream)
            if delegated or not isinstance(event, RunFinished):
                self._stop()


class OnStderr:
    """Guards a sink that writes on stderr: when nobody reads that any more, the run goes on.

    A context manager, around the sink's own context where it has one.
    """

    def __init__(self, inner: EventSink) -> None:
        self._inner = inner

    def emit(self, event: Event) -> None:
        """Pass the event on."""
        try:
            self._inner.emit(event)
        except OSError:
            silence(sys.stderr)

    def __enter__(self) -> Self:
        if isinstance(self._inner, AbstractContextManager):
            try:
                self._inner.__enter__()
            except OSError:
                silence(sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sink."""
        if isinstance(self._inner, AbstractContextManager):
            try:
                self._inner.__exit__(kind, error, trace)
            except OSError:
                silence(sys.stderr)


class Fan:
    """Hands every event to several sinks, in order."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, event: Event) -> None:
        """Pass the event on."""
        for sink in self._sinks:
            sink.emit(event)
