"""Reads the task: an argument, standard input, attached files and images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from hyperguild.attachments import MAX_FILE_BYTES, attachment, read_attachment, text_of
from hyperguild.domain.messages import Image
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.errors import UsageError


def read_stdin() -> bytes:
    """Return standard input to its end, or as much of it as shows that it is too large. Raises `OSError`."""
    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)


def read_task(
    argument: str | None, files: Sequence[str], *, stdin_is_terminal: bool, read_stdin: Callable[[], bytes]
) -> Task:
    """Return the task. Standard input is read at most once, for the task or for one `-f -`.

    Raises `UsageError` where there is no task (empty files are none), a file cannot be read, is
    too large, or is not text.
    """
    if (argument == "-" and "-" in files) or files.count("-") > 1:
        raise UsageError("standard input can be read only once", hint="use `-` for the task or for one file")
    reads_task = argument == "-" or (argument is None and not stdin_is_terminal and "-" not in files)
    text = text_of("standard input", _standard_input(read_stdin)) if reads_task else argument or ""
    read = [
        attachment("stdin", _standard_input(read_stdin)) if name == "-" else read_attachment(name)
        for name in files
    ]
    task = Task(
        text.rstrip("\n") if reads_task else text,
        tuple(one for one in read if isinstance(one, AttachedFile)),
        tuple(one for one in read if isinstance(one, Image)),
    )
    if task.is_empty:
        raise UsageError(
            "no task given", hint="give it as an argument, on standard input, or attach files with -f"
        )
    return task


def _standard_input(read_stdin: Callable[[], bytes]) -> bytes:
    try:
        return read_stdin()
    except OSError as exc:
        raise UsageError(f"cannot read standard input: {exc.strerror or exc}") from exc
