"""What tests of MCP servers share: the servers as processes, and calls of their tools."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from hyperguild.adapters.tools.mcp import McpTools
from hyperguild.domain.mcp import McpServer
from hyperguild.ports import Tool, ToolContext

HERE = Path(__file__).parent
LIMIT_S = 60.0
"""Nothing here takes nearly so long: it only keeps a hang from hanging the suite."""


class OpenBarrier:
    """A barrier that lets everybody pass, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def passed(self) -> None:
        self.count += 1


def official(name: str = "small", *options: str, **fields: Any) -> McpServer:
    """A stdio server made with the official package."""
    argv = (sys.executable, str(HERE / "mcp_server.py"), "stdio", *options)
    return McpServer(name, argv, **fields)


def odd(mode: str = "plain", notes: str = "", *, name: str = "odd", **fields: Any) -> McpServer:
    """A stdio server that speaks the protocol by hand."""
    argv = (sys.executable, str(HERE / "mcp_odd_server.py"), "stdio", mode, notes)
    return McpServer(name, argv, **fields)


class HttpServer:
    """A server over HTTP in a process of its own: the script, started with these arguments."""

    def __init__(self, script: str, *arguments: str) -> None:
        self._argv = [sys.executable, str(HERE / script), "http", *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it and return its address."""
        process = self._process = subprocess.Popen(
            self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def serving(script: str, *arguments: str) -> Iterator[str]:
    """Run a server over HTTP during the block; yields its address."""
    server = HttpServer(script, *arguments)
    try:
        yield server.start()
    finally:
        server.stop()


@asynccontextmanager
async def opened(*servers: McpServer, **fields: Any) -> AsyncIterator[tuple[McpTools, list[str]]]:
    """Yield the tools of the servers, and the warnings so far; everything is closed at the end."""
    warnings: list[str] = []
    settings = {"environment": os.environ, "warn": warnings.append, **fields}
    tools = McpTools(servers, **settings)
    try:
        yield tools, warnings
    finally:
        async with asyncio.timeout(LIMIT_S):
            await tools.aclose()


async def tool(tools: McpTools, name: str) -> Tool:
    return next(each for each in await tools.tools() if each.spec.name == name)


async def call(tools: McpTools, name: str, **arguments: Any) -> str:
    """Call a tool by the name it is offered under; raises what it raises."""
    found = await tool(tools, name)
    return await found.run(arguments, ToolContext(OpenBarrier(), lambda _text: None))


def names(offered: tuple[Tool, ...]) -> set[str]:
    return {each.spec.name for each in offered}


async def offers(tools: McpTools, name: str) -> None:
    """Wait until a tool is offered, asking as the steps of an attempt do."""
    async with asyncio.timeout(LIMIT_S):
        while name not in names(await tools.tools()):  # noqa: ASYNC110 - it is another process that changes it
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fails after a minute."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - it is another process that changes it
            await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
