"""Notices, over the steps of an attempt, tool calls that lead nowhere."""

from __future__ import annotations

import json
import posixpath
from hashlib import sha256
from typing import Final

from hyperguild.domain.tools import ToolCall, ToolResult

MOST_FAILED_PATCHES: Final = 3
MOST_EQUAL_RESULTS: Final = 2


class PatchSpiral:
    """Counts failed writes and edits by path, for one attempt. The fourth of one path trips.

    A success takes one off, so that a file that is being brought into shape is left alone.
    """

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}

    def take(self, path: str, *, failed: bool) -> int | None:
        """Count the outcome of one write or edit; return the number of failures where that trips."""
        path = posixpath.normpath(path)
        count = max(self._failed.get(path, 0) + (1 if failed else -1), 0)
        self._failed[path] = count
        return count if count > MOST_FAILED_PATCHES else None


class RepeatedCall:
    """Counts calls with the same tool, arguments and result, for one attempt. The third trips.

    The calls need not follow one another, since a loop often goes over two or three of them (read, failing
    edit, read, …). But once the same call brings another result the world has changed, and its count begins
    anew: polling and test runs that go from red to green and back are no loops. Arguments are equal as JSON:
    the order of keys does not matter, and 1, 1.0 and true differ.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[bytes, int]] = {}

    def take(self, call: ToolCall, result: ToolResult) -> int | None:
        """Count one finished call; return how often its result was the same where that trips."""
        key = json.dumps([call.name, call.raw if call.arguments is None else call.arguments], sort_keys=True)
        digest = sha256(f"{result.is_error} {result.text}".encode("utf-8", "surrogatepass")).digest()
        last, count = self._last.get(key, (b"", 0))
        count = count + 1 if last == digest else 1
        self._last[key] = (digest, count)
        return count if count > MOST_EQUAL_RESULTS else None
