"""Exports of runs as JSON: one a line, or all in an array."""

from __future__ import annotations

import sys
from typing import TextIO

from hyperguild.cli.labelled import LabelledRun
from hyperguild.cli.output import json_text


class JsonLinesWriter:
    """One run a line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, run: LabelledRun) -> None:
        """Write the run's line."""
        self._file.write(f"{json_text(run.as_object())}\n")

    def finish(self) -> list[str]:
        """There is nothing left to write, or to say."""
        return []


class JsonArrayWriter:
    """All runs in an array, indented on a terminal."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._indent = 2 if file is sys.stdout and sys.stdout.isatty() else None
        self._begun = False

    def write(self, run: LabelledRun) -> None:
        """Write the run as the array's next item."""
        separator = ("," if self._indent is None else ",\n") if self._begun else "["
        self._begun = True
        self._file.write(f"{separator}{json_text(run.as_object(), indent=self._indent)}")

    def finish(self) -> list[str]:
        """End the array."""
        self._file.write("]\n" if self._begun else "[]\n")
        return []
