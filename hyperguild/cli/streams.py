"""The standard streams, closed at the start or broken at any moment: on stderr, nothing raises for that.

Imports the standard library alone: it is needed before anything else is loaded.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


class OutputLostError(OSError):
    """Stdout cannot be written, for another reason than that its reader has gone."""


class _Stdout(io.TextIOWrapper):
    """Stdout: what cannot be written raises `BrokenPipeError` or `OutputLostError`, once."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._lost(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> OSError:
        if isinstance(error, BrokenPipeError | OutputLostError):
            return error
        silence(self)
        return OutputLostError(error.errno, error.strerror)


class _Stderr(io.TextIOWrapper):
    """Stderr: what cannot be written is dropped, for no command fails by what it has to say."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            silence(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            silence(self)


def open_standard_streams() -> None:
    """Put streams in place of stdout and stderr that fail as this program wants them to.

    Streams that were closed by whoever started this process (`2>&-`) are opened; otherwise the next file
    that is opened, such as the session log, would get the stream's number. A closed stdin is empty, a closed
    stderr leads to nowhere, a closed stdout cannot be written.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            _lead_nowhere(descriptor, os.O_RDONLY if name == "stdout" else os.O_RDWR)
            stream = os.fdopen(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _replaced(sys.stdout, _Stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _replaced(sys.stderr, _Stderr)


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


def _replaced(stream: io.TextIOWrapper, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    encoding, errors, by_line = stream.encoding, stream.errors, stream.line_buffering
    return kind(stream.detach(), encoding=encoding, errors=errors, line_buffering=by_line)


def _lead_nowhere(descriptor: int, access: int = os.O_RDWR) -> None:
    nowhere = os.open(os.devnull, access)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        with suppress(OSError):
            os.close(nowhere)
