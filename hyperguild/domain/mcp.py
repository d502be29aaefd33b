"""Servers of the Model Context Protocol, as chains.yaml names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperguild.domain.tools import ToolCategory


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server whose tools a model may be offered: a program (`argv`) or an address (`url`), exactly one.

    The program runs without a shell, in `cwd`, with a reduced environment and `env` over it; `headers` go
    with every HTTP request. `tools`, `read_only` and `deferred` are globs on the server's own names of its
    tools: which to offer (None: all), which of them the user declares to change nothing, and which are sent
    to a model only once it asks for them. `start_timeout_s` bounds starting it and listing its tools,
    `timeout_s` one call. Raises `ValueError` for both or neither.
    """

    name: str
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold keys
    cwd: Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    category: ToolCategory = "meta"
    read_only: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    deferred: tuple[str, ...] = ()
    timeout_s: float = 60.0
    start_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if bool(self.argv) == (self.url is not None):
            raise ValueError(f"the MCP server '{self.name}' needs argv or url, and not both")
