"""The program `hyperguild`. It imports little at first, so that Ctrl-C is understood from the start."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from hyperguild.cli.streams import open_standard_streams, say


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the contract's code."""
    open_standard_streams()
    try:
        code = run_command_line(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        # A second one, while the first was being told.
        code = 130
    if code == 130:
        _ignore_taken_over()
    sys.exit(code)


def run_command_line(arguments: list[str]) -> int:
    """Run the command line; return the exit code. Errors become one line on stderr."""
    try:
        from hyperguild.cli.group import perform  # noqa: PLC0415  # see above

        return perform(arguments)
    except KeyboardInterrupt:
        say("error: interrupted")
        return 130


def _ignore_taken_over() -> None:
    """Ignore the signals that an interrupted run still handles.

    They would kill the interpreter, with another exit code, while it takes itself apart.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        handler = signal.getsignal(getattr(signal, name, signal.SIGINT))
        if callable(handler) and handler is not signal.default_int_handler:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
