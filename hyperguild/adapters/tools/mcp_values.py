"""What passes between a session with an MCP server and the tools made of it; free of the `mcp` package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as the server lists it, unchecked: every text of it is the server's."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to, as text. `is_error`: by the server's own account it failed."""

    text: str
    is_error: bool = False


class McpFault(Exception):
    """A server cannot be reached, started or understood; the message says why, in a line without its name."""


class Session(Protocol):
    """One connection to one server, from its start to its end."""

    tools: tuple[ListedTool, ...]
    stale: bool
    """Whether the server has said that its tools are others now."""

    async def usable(self) -> bool:
        """Return whether calls can be made; where its end has begun, wait for it."""
        ...

    async def open(self) -> None:
        """Start or reach the server and list its tools. Raises `McpFault`; then nothing is left of it."""
        ...

    async def refresh(self) -> None:
        """List the tools anew. Raises `McpFault`; then the old ones stay."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool by the server's name for it. Raises `McpFault`.

        Cancelling, and reaching the time limit, tell the server to stop.
        """
        ...

    async def aclose(self) -> None:
        """End it, and the server where it is a program of ours. Safe to call twice."""
        ...
