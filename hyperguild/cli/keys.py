"""Keys that are pressed at a terminal, or lines that come from elsewhere: one command each."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

from hyperguild.cli.streams import say

END = "\x04"
"""What a terminal sends for Ctrl-D."""


class Keys(Protocol):
    """Where commands come from."""

    def next(self, prompt: str) -> tuple[str, str] | None:
        """Return a key, lower case, and what followed it on its line; None at the end of input."""
        ...

    def line(self, prompt: str) -> str:
        """Return a line of text, without its end; empty at the end of input."""
        ...


class PressedKeys:
    """Somebody at a terminal: a key acts at once. Ctrl-C raises `KeyboardInterrupt`, Ctrl-D is the end.

    What is typed before a question is shown is no answer to it.
    """

    def next(self, prompt: str) -> tuple[str, str] | None:
        """Wait for a key that is shown."""
        with _key_by_key(sys.stdin.fileno()):
            click.echo(prompt, nl=False, err=True)
            while True:
                try:
                    pressed = os.read(sys.stdin.fileno(), 32).decode("utf-8", errors="replace")
                except KeyboardInterrupt:
                    say("")  # ends the line of the prompt
                    raise
                if pressed in {"", END}:
                    say("")
                    return None
                if len(pressed) == 1 and pressed.isprintable():  # not an arrow, nor what was pasted
                    say(pressed)
                    return pressed.lower(), ""

    def line(self, prompt: str) -> str:
        """Ask for a line."""
        click.echo(prompt, nl=False, err=True)
        return sys.stdin.readline().rstrip("\n")


class TypedLines:
    """Lines of a pipe or file: the first word's first letter is the key. Empty lines are nothing."""

    def next(self, prompt: str) -> tuple[str, str] | None:  # noqa: ARG002  # nobody sees it
        """Read the next command."""
        for line in iter(sys.stdin.readline, ""):
            word, _, rest = line.strip().partition(" ")
            if word:
                return word[0].lower(), rest.strip()
        return None

    def line(self, prompt: str) -> str:  # noqa: ARG002  # nobody sees it
        """Read the next line."""
        return sys.stdin.readline().strip()


def keys_of_stdin() -> Keys:
    """Return keys where stdin is a terminal, else lines."""
    return PressedKeys() if sys.stdin.isatty() else TypedLines()


@contextmanager
def _key_by_key(terminal: int) -> Iterator[None]:
    """Have the terminal give each key as it is pressed, without showing it; forget what was typed before."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal, termios.TCSAFLUSH)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
