"""Shows a walk on stderr: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from hyperguild.cli.delegated import DelegatedRuns
from hyperguild.cli.output import flat
from hyperguild.cli.progress import Progress, Row, call_line, summary, times
from hyperguild.domain.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LoadWaiting,
    Probed,
    RunFinished,
    ToolCalled,
    ToolReturned,
    Warned,
)
from hyperguild.domain.outcomes import outcome, reason
from hyperguild.domain.telling import seconds
from hyperguild.domain.text import one_line

if TYPE_CHECKING:
    # rich is imported only on a terminal.
    from rich.console import RenderableType

MARKS = {"accept": "✓", "escalate": "✗", "error": "!", "skip": "–"}
COLOURS = {"accept": "green", "escalate": "yellow", "error": "red", "skip": "dim"}
REASON_WIDTH = 160
"""Characters of a reason in a plain line; the whole is in the session log."""


class PlainView:
    """One line a fact. A context manager, as `LiveView` is."""

    def __init__(self) -> None:
        self._loading: set[str] = set()
        self._delegated = DelegatedRuns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal alone in the block: nothing is drawn anyway."""
        yield

    def emit(self, event: Event) -> None:
        """Print what the event says, if a person wants to know."""
        if self._delegated.take(event):
            self._tell_delegated(event)
            return
        match event:
            case AttemptStarted():
                self._say(f"{event.model} ({event.tier}) …")
            case Probed(warm_state="cold" | "starting"):
                self._say(f"{event.model}: {event.warm_state}")
            case LoadWaiting():
                self._tell_load(event)
            case ToolCalled():
                self._say(call_line(event.name, event.arguments))
            case ToolReturned(is_error=True):
                self._say(f"{event.name} failed: {one_line(event.text, REASON_WIDTH)}")
            case AttemptFinished(attempt=attempt):
                self._loading.clear()  # a load that failed has no end of its own
                why = reason(attempt)
                tail = f": {one_line(why, REASON_WIDTH)}" if why else ""
                spent = times(attempt)
                self._say(f"{attempt.model}: {outcome(attempt)}{tail}{f' [{spent}]' if spent else ''}")
            case Warned():
                self._say(f"warning: {one_line(event.message, 400)}")
            case RunFinished():
                self._say(summary(event.result))

    def _tell_delegated(self, event: Event) -> None:
        """Print what a delegated run does to the world, and how it ends."""
        match event:
            case ToolCalled():
                self._say(f"  {call_line(event.name, event.arguments)}")
            case Warned():
                self._say(f"warning: {one_line(event.message, 400)}")
            case RunFinished():
                self._say(f"  {self._delegated.place()}: {summary(event.result)}")

    def _tell_load(self, event: LoadWaiting) -> None:
        """Print the beginning and the end of a load; what comes in between says how long it has taken."""
        if event.loaded:
            self._loading.discard(event.model)
            self._say(f"{event.model}: loaded in {seconds(event.waited_ms)}")
        elif event.model not in self._loading:
            self._loading.add(event.model)
            self._say(f"{event.model}: loading")

    def _say(self, line: str) -> None:
        indent = line[: len(line) - len(line.lstrip(" "))]
        click.echo(indent + flat(line).strip(), err=True)


class LiveView:
    """A table that is redrawn as events come; it stays on the screen at the end."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415  # only on a terminal
        from rich.live import Live  # noqa: PLC0415

        self._progress = Progress()
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        # A callable is drawn anew at each refresh, so that a hundred deltas a second cost ten drawings.
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw for the last time and give the terminal back."""
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal alone in the block; the table is drawn again below what is said there."""
        self._live.transient = True
        self._live.stop()
        self._live.transient = False
        try:
            yield
        finally:
            self._live.start()

    def emit(self, event: Event) -> None:
        """Take an event; warnings and the end are printed, the rest is drawn."""
        own = self._progress.apply(event)
        if isinstance(event, Warned):
            self._console.print(f"warning: {one_line(event.message, 400)}", style="yellow")
        elif isinstance(event, RunFinished) and own:
            self._live.refresh()
            self._live.stop()
            self._console.print(flat(summary(event.result)), style="bold")

    def _draw(self) -> RenderableType:
        from rich.table import Table  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        for row in self._progress.rows:
            table.add_row(*self._cells(row))
        return table

    def _cells(self, row: Row) -> tuple[RenderableType, ...]:
        from rich.spinner import Spinner  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        name, tier = Text(flat(row.model), style="bold"), Text(row.tier, style="dim")
        if row.attempt is None:
            return Spinner("dots", style="cyan"), name, tier, Text(flat(row.doing), style="cyan")
        attempt = row.attempt
        colour = COLOURS[attempt.verdict]
        said = Text(flat(outcome(attempt)), style=colour)
        spent = times(attempt)
        if spent:
            said.append(f"\n{spent}", style="dim")
        why = reason(attempt)
        if why:
            said.append(f"\n{one_line(why, 3 * self._console.width)}", style="italic")
        return Text(MARKS[attempt.verdict], style=colour), name, tier, said


def open_view() -> PlainView | LiveView:
    """Return the view that fits stderr."""
    return LiveView() if sys.stderr.isatty() else PlainView()
