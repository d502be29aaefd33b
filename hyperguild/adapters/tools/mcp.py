"""Tools of MCP servers: opened when they are first needed, offered as ours are.

The package `mcp` (the extra `hyperguild[mcp]`) takes a second to import: only opening a server imports it.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hyperguild.adapters.tools.mcp_names import ToolNames
from hyperguild.adapters.tools.mcp_schema import FittedSchema, fitted
from hyperguild.adapters.tools.mcp_values import Answer, ListedTool, McpFault, Session
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolError, ToolSpec
from hyperguild.ports import Tool, ToolContext
from hyperguild.programs.environment import DESKTOP_PREFIX, NETWORK, TERMINAL, reduced_environment

DESCRIPTION_MAX_CHARS = 1_024
"""OpenAI's limit for a tool; what a server says of its tools is not to be trusted, nor to fill a window."""

INSTALL_HINT = "pip install 'hyperguild[mcp]'"


class McpTools:
    """The tools of the configured servers.

    `warn` is told, in one line, of a server whose tools are missing. `environment` is this process's; of it
    the programs get only where things are (PATH, HOME, locale, proxies, certificates) and each its own `env`.
    `taken` are the names of all other tools. One event loop only; close it with `aclose`.
    """

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        environment: Mapping[str, str],
        warn: Callable[[str], None],
        taken: Collection[str] = (),
    ) -> None:
        passed = reduced_environment(environment, TERMINAL | NETWORK, (DESKTOP_PREFIX,))
        self._links = {server.name: _Link(server, passed, warn) for server in servers}
        self._names = ToolNames(taken)

    async def tools(self, servers: Collection[str] | None = None) -> tuple[Tool, ...]:
        """Return the tools that these servers offer now (None: all of them), in the order of the servers.

        Servers that are not open yet are opened, all at once; one that cannot be is warned of once and has no
        tools. Where a server has said that its tools changed they are listed anew. Cancelling closes what is
        only half open.
        """
        links = [link for name, link in self._links.items() if servers is None or name in servers]
        async with asyncio.TaskGroup() as tasks:
            for link in links:
                tasks.create_task(link.bring_up_to_date())
        offered = [(link, tool) for link in links for tool in link.offered()]
        names = self._names.assign((link.server.name, tool.name) for link, tool in offered)
        return tuple(_McpTool(names[link.server.name, tool.name], tool, link) for link, tool in offered)

    async def aclose(self) -> None:
        """End all sessions and programs, at once. Safe to call twice; no tool works afterwards."""
        async with asyncio.TaskGroup() as tasks:
            for link in self._links.values():
                tasks.create_task(link.aclose())


class _McpTool:
    """A `Tool` that a server executes."""

    def __init__(self, name: str, listed: ListedTool, link: _Link) -> None:
        self._name = listed.name
        self._link = link
        self._schema = link.schema(listed)
        server = link.server
        self.spec = ToolSpec(
            name,
            one_line(listed.description, DESCRIPTION_MAX_CHARS) or listed.name,
            self._schema.parameters,
            effect="read" if _fits(listed.name, server.read_only) else "exec",
            category=server.category,
            source=server.name,
            deferred=_fits(listed.name, server.deferred),
        )

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """See `Tool.run`; cancelling sends the server the protocol's cancellation."""
        if self.spec.effect != "read":
            await context.barrier.passed()
        answer = await self._link.call(self._name, self._schema.restored(arguments))
        if answer.is_error:
            raise ToolError(f"MCP server '{self._link.server.name}' reports an error: {answer.text}")
        return answer.text


class _Link:
    """What we have to do with one server: the session under way, and the next one when that has ended."""

    def __init__(
        self, server: McpServer, environment: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        self.server = server
        self._environment = environment
        self._warn = warn
        self._session: Session | None = None
        self._opening: Session | None = None
        self._failed = False
        self._closed = False
        self._changing = asyncio.Lock()
        self._schemas: dict[str, tuple[Mapping[str, Any], FittedSchema]] = {}

    async def bring_up_to_date(self) -> None:
        """Open the server if nobody has tried yet; list its tools anew if they changed."""
        async with self._changing:
            session = self._session
            try:
                if session is None and not self._failed:
                    await self._open()
                elif session is not None and session.stale and await session.usable():
                    await session.refresh()
            except McpFault as fault:
                if session is None:
                    self._failed = True
                    self._warn(
                        f"MCP server '{self.server.name}' cannot be used: {fault}; its tools are missing"
                    )
                else:
                    self._warn(f"MCP server '{self.server.name}': its new tools cannot be listed: {fault}")

    def offered(self) -> list[ListedTool]:
        """Return the tools last listed that the user wants offered."""
        listed = self._session.tools if self._session is not None else ()
        wanted = self.server.tools
        return [tool for tool in listed if wanted is None or _fits(tool.name, wanted)]

    def schema(self, tool: ListedTool) -> FittedSchema:
        """Return the tool's schema made fit; it is worked out once."""
        known = self._schemas.get(tool.name)
        if known is None or known[0] is not tool.schema:
            known = self._schemas[tool.name] = (tool.schema, fitted(tool.schema))
        return known[1]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool; a server that has died since is started again first, once. Raises `ToolError`."""
        try:
            session = await self._usable()
            return await session.call(name, arguments)
        except McpFault as fault:
            raise ToolError(f"MCP server '{self.server.name}': {fault}") from fault

    async def aclose(self) -> None:
        """End the sessions, the one that is being opened too, for good."""
        self._closed = True
        for session in (self._opening, self._session):
            if session is not None:
                await session.aclose()

    async def _usable(self) -> Session:
        async with self._changing:
            session = self._session
            return session if session is not None and await session.usable() else await self._open()

    async def _open(self) -> Session:
        opener = await asyncio.to_thread(_session_class)
        if self._closed:
            raise McpFault("it is closed")
        session = self._opening = opener(self.server, self._environment)
        try:
            await session.open()
        finally:
            self._opening = None
        self._session = session
        return session


def is_installed() -> bool:
    """Tell whether the extra is there, without importing it."""
    return all(importlib.util.find_spec(package) is not None for package in ("mcp", "httpx2"))


def _session_class() -> Callable[[McpServer, Mapping[str, str]], Session]:
    """Import what opens sessions, an optional extra. Raises `McpFault` where it is not installed."""
    try:
        from hyperguild.adapters.tools.mcp_session import McpSession  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise McpFault(f"{INSTALL_HINT} first") from exc
    return McpSession


def _fits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
