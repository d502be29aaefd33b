"""Asks on the terminal whether a tool may run."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Literal, Protocol

import click

from hyperguild.domain.text import clipped, one_line, revealed
from hyperguild.ports import Question

TERMINAL = "/dev/tty"
"""Standard input may be the task; the terminal is asked itself."""

PREVIEW_LINES = 60
NAME_CHARS = 80
ANSWERS: dict[str, Literal["yes", "no", "always"]] = {
    "y": "yes",
    "yes": "yes",
    "n": "no",
    "no": "no",
    "a": "always",
    "always": "always",
}
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


class Pausable(Protocol):
    """A view that can leave the terminal alone for a while."""

    def paused(self) -> AbstractContextManager[None]:
        """Draw nothing in the block."""
        ...


class TerminalApprover:
    """An `Approver` who sits at the terminal; questions are asked one at a time.

    `view`, if set, is paused meanwhile. Cancelling stops the waiting; what is typed later is not read, and
    what was typed before a question was shown is no answer to it.
    """

    def __init__(self) -> None:
        self.view: Pausable | None = None
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, question: Question) -> Literal["yes", "no", "always"]:
        """Show the call, with a diff of what it would change, and wait for y, n or a."""
        async with self._one_at_a_time:
            with self.view.paused() if self.view is not None else nullcontext():
                _forget_typed_ahead()
                click.echo(shown(question), err=True)
                while True:
                    click.echo("Allow it? [y]es, [n]o, [a]lways in this run: ", nl=False, err=True)
                    line = await _typed_line()
                    if line is None:
                        click.echo(err=True)  # nobody ended the line
                        return "no"
                    answer = ANSWERS.get(line.strip().lower())
                    if answer is not None:
                        return answer


def open_approver() -> TerminalApprover | None:
    """Return somebody to ask, None where there is no terminal."""
    if not sys.stderr.isatty() or not os.access(TERMINAL, os.R_OK):
        return None
    return TerminalApprover()


def shown(question: Question) -> str:
    """Return the question as it is put: the call, why it is asked about, what it would change.

    What a terminal would act on, and what nobody would see, is written out: it is part of what is allowed.
    """
    arguments = question.call.arguments or {}
    lines = [
        click.style(one_line(question.call.name, NAME_CHARS), bold=True)
        + f"  ({one_line(question.reason, 200)})"
    ]
    for name, value in arguments.items():
        if question.preview and name in {"content", "old", "new"}:
            continue
        text = value if isinstance(value, str) else repr(value)
        label = one_line(name, NAME_CHARS)
        lines += [f"  {label}: {line}" for line in _bounded(clipped(text, 4000))]
    for line in _bounded(question.preview):
        lines.append("  " + click.style(line, fg=COLOURS.get(line[:1])))
    return "\n".join(lines)


def _bounded(text: str) -> list[str]:
    lines = revealed(text.replace("\r\n", "\n")).split("\n")
    if not lines[-1]:
        lines.pop()
    if len(lines) <= PREVIEW_LINES:
        return lines
    return [*lines[:PREVIEW_LINES], f"… {len(lines) - PREVIEW_LINES} more lines"]


def _forget_typed_ahead() -> None:
    with _terminal() as descriptor, suppress(termios.error):
        termios.tcflush(descriptor, termios.TCIFLUSH)


async def _typed_line() -> str | None:
    """Return the next line that is typed; None at the end of input."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()
    with _terminal() as descriptor:

        def read() -> None:
            if not typed.done():
                typed.set_result(os.read(descriptor, 4096))

        loop.add_reader(descriptor, read)
        try:
            data = await typed
        finally:
            loop.remove_reader(descriptor)
    return data.decode("utf-8", errors="replace") if data else None


@contextmanager
def _terminal() -> Iterator[int]:
    descriptor = os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
