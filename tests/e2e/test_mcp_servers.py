"""A published MCP server, as users configure it: the file system server of the npm registry."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from mcp_support import HERE, call, comes_true, names, opened

from hyperguild.adapters.tools.mcp import McpTools
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.tools import ToolError

PACKAGE = "@modelcontextprotocol/server-filesystem"
START_LIMIT_S = 100.0
"""npm fetches the package the first time."""

PARENT = """
import asyncio, sys
from pathlib import Path
from mcp_support import call, opened
from hyperguild.domain.mcp import McpServer

async def main(folder):
    server = McpServer("files", ("npx", "-y", sys.argv[2], folder), start_timeout_s=100.0)
    async with opened(server) as (tools, _):
        print(await call(tools, "files_list_allowed_directories"), flush=True)
        await asyncio.sleep(600)

asyncio.run(main(sys.argv[1]))
"""


def why_not() -> str | None:
    """Return why the server cannot be had here, None where it can."""
    if shutil.which("npx") is None:
        return "npm is not installed"
    asked = subprocess.run(["npm", "view", PACKAGE, "version"], capture_output=True, text=True, check=False)
    return None if asked.returncode == 0 else f"npm cannot find {PACKAGE}: {asked.stderr[-200:]}"


@pytest.fixture(scope="module", autouse=True)
def _npm() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


def configured(folder: Path) -> McpServer:
    return McpServer(
        "files",
        ("npx", "-y", PACKAGE, str(folder)),
        start_timeout_s=START_LIMIT_S,
        read_only=("read_*", "list_*", "search_*", "get_*", "directory_tree"),
    )


def processes_about(folder: Path) -> list[int]:
    """The processes that were started with the folder as an argument, but for zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


@pytest_asyncio.fixture
async def tools(tmp_path: Path) -> AsyncIterator[McpTools]:
    (tmp_path / "notes.txt").write_text("first line\n")
    async with opened(configured(tmp_path)) as (opened_tools, warnings):
        await opened_tools.tools()
        assert warnings == []
        yield opened_tools
    await comes_true(lambda: processes_about(tmp_path) == [])


async def test_c1_mcp_the_npm_file_system_server_lists_reads_and_writes(
    tools: McpTools, tmp_path: Path
) -> None:
    specs = {each.spec.name: each.spec for each in await tools.tools()}
    assert {"files_list_directory", "files_read_text_file", "files_write_file"} <= set(specs)
    assert specs["files_read_text_file"].effect == "read"
    assert specs["files_write_file"].effect == "exec"
    assert "[FILE] notes.txt" in await call(tools, "files_list_directory", path=str(tmp_path))
    assert await call(tools, "files_read_text_file", path=str(tmp_path / "notes.txt")) == "first line\n"
    await call(tools, "files_write_file", path=str(tmp_path / "new.txt"), content="é\n")
    assert (tmp_path / "new.txt").read_text() == "é\n"


@pytest.mark.long
async def test_c5_mcp_the_npm_file_system_server_refuses_in_words(tools: McpTools, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"MCP server 'files' reports an error: .*outside allowed"):
        await call(tools, "files_read_text_file", path="/etc/hostname")
    with pytest.raises(ToolError, match="MCP server 'files'"):
        await call(tools, "files_read_text_file", path=str(tmp_path / "missing.txt"))
    assert "files_read_text_file" in names(await tools.tools())


@pytest.mark.long
def test_c5_mcp_the_npm_server_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", PARENT, str(tmp_path), PACKAGE]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert "Allowed directories" in parent.stdout.readline()
        assert len(processes_about(tmp_path)) > 1
        parent.kill()
    asyncio.run(comes_true(lambda: processes_about(tmp_path) == []))
