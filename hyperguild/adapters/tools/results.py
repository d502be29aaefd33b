"""Tool results that are too large for a window: kept whole in a file, shown by their ends."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from contextlib import suppress
from pathlib import Path

from hyperguild.domain.text import encodable
from hyperguild.domain.tools import ToolCall
from hyperguild.domain.usage import CHARS_PER_TOKEN
from hyperguild.private_folder import make_private

UNKNOWN_WINDOW_CHARS = 16 * 1024
SHARE_OF_WINDOW = 3
"""A result may take up a third of the window."""

PREFIX = "session:/"


def most_chars(window: int | None) -> int:
    """Return how many characters of a result a model of this window (in tokens) is shown."""
    return UNKNOWN_WINDOW_CHARS if window is None else max(window * CHARS_PER_TOKEN // SHARE_OF_WINDOW, 200)


class ResultFiles:
    """The saved results of one session, in a folder of mode 0700; made when the first one comes."""

    def __init__(self, folder: Path, limit_chars: int) -> None:
        self._folder = folder
        self._limit_chars = limit_chars
        self._saved: list[str] = []

    async def fit(self, call: ToolCall, text: str) -> str:
        """Return the text, or its head and tail and where the whole is. A full disk keeps the ends alone."""
        if len(text) <= self._limit_chars:
            return text
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", f"{call.name}-{call.id}")[:120]
        half = max(self._limit_chars // 2 - 100, 50)
        try:
            name = await asyncio.to_thread(self._save, stem, text)
            where = f"the whole is in {PREFIX}{name}; read it with fs_read and offset"
        except OSError as error:
            where = f"the whole could not be kept: {error.strerror or error}"
        left_out = len(text) - 2 * half
        return f"{text[:half]}\n[… {left_out} characters left out; {where} …]\n{text[-half:]}"

    def _save(self, stem: str, text: str) -> str:
        """Save the text in a file of its own, for servers may number their calls anew; return its name."""
        make_private(self._folder)
        for number in itertools.count(1):
            name = f"{stem}.txt" if number == 1 else f"{stem}-{number}.txt"
            with suppress(FileExistsError):
                descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                break
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            self._saved.append(name)
            file.write(encodable(text))
        return name

    def discard(self) -> None:
        """Delete what was saved."""
        for name in self._saved:
            (self._folder / name).unlink(missing_ok=True)
        self._saved.clear()
        with suppress(OSError):
            self._folder.rmdir()  # others may have theirs in it
