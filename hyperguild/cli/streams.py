"""The standard streams, closed at the start or broken at any moment: nothing here raises for that.

Imports the standard library alone: it is needed before anything else is loaded.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def open_standard_streams() -> None:
    """Point streams that were closed by whoever started this process (`2>&-`) to nowhere.

    Otherwise the next file that is opened, such as the session log, would get the stream's number.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            _lead_nowhere(descriptor)
            stream = os.fdopen(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)
            setattr(sys, name, stream)


def silence(stream: TextIO) -> None:
    """Send to nowhere what is yet to be written, what is buffered included: its reader has gone."""
    _lead_nowhere(stream.fileno())


def say(line: str) -> None:
    """Write a line on stderr; where nobody reads that any more, nothing happens."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence_broken() -> None:
    """Silence what cannot be flushed, of stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            silence(stream)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        with suppress(OSError):
            os.close(nowhere)
