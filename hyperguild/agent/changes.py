"""What an attempt changed, for its verifier: files touched, commands run. Pure."""

from __future__ import annotations

import posixpath

from hyperguild.domain.text import clipped, one_line
from hyperguild.domain.tools import Effect, ToolCall, ToolResult

COMMAND_CHARS = 200
SUMMARY_CHARS = 4000
"""A judge has to read it beside the answer."""


class Changes:
    """Collects what the calls of one attempt did, as the machine saw it."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._commands: list[str] = []

    def take(self, call: ToolCall, result: ToolResult, effect: Effect | None) -> None:
        """Take one finished call; `effect` None means that it was not executed."""
        if effect is None or call.arguments is None or effect == "read":
            return
        path, command = call.arguments.get("path"), call.arguments.get("command")
        if effect == "write" and isinstance(path, str):
            if not result.is_error:
                path = one_line(posixpath.normpath(path), COMMAND_CHARS)  # no line of its own making
                self._files[path] = self._files.get(path, 0) + 1
            return
        did = command if isinstance(command, str) else f"{call.name} {call.raw}"
        outcome = "failed" if result.is_error else one_line(result.text.partition("\n")[0], 60)
        self._commands.append(f"{one_line(did, COMMAND_CHARS)} → {outcome}")

    def summary(self) -> str:
        """Return the summary, bounded; empty where nothing was changed."""
        parts = []
        if self._files:
            named = [f"{path} ({count}×)" if count > 1 else path for path, count in self._files.items()]
            parts.append("Files written: " + ", ".join(named))
        if self._commands:
            parts.append("Commands and other tools, in order:\n" + "\n".join(self._commands))
        return clipped("\n".join(parts), SUMMARY_CHARS)
