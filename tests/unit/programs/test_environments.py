"""Whatever is started sees a list of our environment, and never what nobody thought of."""

from __future__ import annotations

import ast
import asyncio
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from file_tools import OpenBarrier

import hyperguild
from hyperguild.adapters.embedded import keeper_client, process
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.models.command import CommandClient
from hyperguild.adapters.tools.command_hooks import command_hooks
from hyperguild.adapters.tools.git import users_git
from hyperguild.adapters.tools.mcp import McpTools
from hyperguild.adapters.tools.sandbox import Bounds, NoSandbox, find_sandbox
from hyperguild.adapters.tools.shell import ShellTool
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.cli.examine_library import library_findings
from hyperguild.domain.chain import CommandCheck, Endpoint, JsonSchemaCheck, KeySource, Model
from hyperguild.domain.hooks import CommandHook
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.ports import ToolContext
from hyperguild.simulation.process import FleetProcess
from hyperguild.verification.checks import run_check
from hyperguild.verification.subject import Subject

CANARY = "a-value-that-nobody-may-see"
ARRIVES = "LC_CANARY"


class Spy:
    """A program that writes down its environment, then does what the real one does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seen = folder / "seen"
        self._seen.mkdir()
        self._folder = folder / "bin"
        self._folder.mkdir()
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", f"{self._folder}{os.pathsep}{os.environ['PATH']}")

    def program(self, name: str, then: str = "echo done") -> str:
        path = self._folder / name
        path.write_text(f'#!/bin/sh\nenv > "{self._seen}/$$"\n{then}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def interpreter(self, *, works: bool = True) -> None:
        """Stand in for the interpreter that our own programs are started with."""
        real = f'exec "{sys.executable}" "$@"' if works else "exit 1"
        self._monkeypatch.setattr(sys, "executable", self.program("python", real))

    def environments(self) -> list[str]:
        return [file.read_text() for file in self._seen.iterdir()]


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spy:
    monkeypatch.setenv("SECRET_CANARY", CANARY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    monkeypatch.setenv(ARRIVES, "arrives")
    return Spy(tmp_path, monkeypatch)


SUBJECT = Subject("", "", "{}", "stop")


async def _check(spy: Spy, folder: Path) -> None:
    await run_check(CommandCheck((spy.program("check"),), folder, 10.0), SUBJECT)


async def _parser(spy: Spy, _folder: Path) -> None:
    spy.interpreter()
    assert (await run_check(JsonSchemaCheck(schema=True), SUBJECT)).passed


async def _key_command(spy: Spy, _folder: Path) -> None:
    ring = KeyRing(os.environ)
    source = KeySource(command=(spy.program("key"),))
    assert await ring.key(Endpoint("e", "openai", "http://127.0.0.1:9", key=source)) == "done"
    await ring.aclose()


async def _command_endpoint(spy: Spy, _folder: Path) -> None:
    endpoint = Endpoint("c", "command", argv=(spy.program("claude"),))
    client = CommandClient(endpoint, KeyRing(os.environ))
    model = Model("m", endpoint, upstream="m", label="subagent")
    async with aclosing(client.stream(ModelRequest(model, (Message("user", "x"),)))) as parts:
        assert [part async for part in parts]


async def _hook(spy: Spy, folder: Path) -> None:
    hooks = command_hooks({"stop": [CommandHook((spy.program("hook", "echo '{}'"),))]}, os.environ, folder)
    assert await hooks.stop[0].run("answer") is None


async def _mcp_server(spy: Spy, _folder: Path) -> None:
    warnings: list[str] = []
    tools = McpTools(
        [McpServer("s", (spy.program("server", "exit 0"),))], environment=os.environ, warn=warnings.append
    )
    assert await tools.tools() == ()
    await tools.aclose()
    assert warnings


async def _shell(spy: Spy, folder: Path) -> None:
    tool = ShellTool(Bounds(folder), NoSandbox("none", ""), os.environ)
    said = await tool.run({"command": spy.program("cmd")}, ToolContext(OpenBarrier(), lambda _text: None))
    assert "done" in said


async def _git(spy: Spy, folder: Path) -> None:
    spy.program("git")
    await users_git(os.environ, folder).run("--version")


async def _sandbox(spy: Spy, _folder: Path) -> None:
    spy.program("bwrap", "exit 1")
    await find_sandbox(os.environ)


async def _model_server(spy: Spy, _folder: Path) -> None:
    spy.interpreter(works=False)
    server = await process._spawn(cast("Any", None))
    await server.communicate()


async def _keeper(spy: Spy, folder: Path) -> None:
    spy.interpreter(works=False)
    code, _ = await keeper_client._run_starter(KeeperFolder(folder))
    assert code == 1


async def _library(spy: Spy, _folder: Path) -> None:
    spy.interpreter(works=False)
    await library_findings("embedded", os.environ)


async def _fleet(spy: Spy, _folder: Path) -> None:
    spy.interpreter()
    with FleetProcess():
        pass


STARTS: tuple[Callable[[Spy, Path], Awaitable[None]], ...] = (
    *(_check, _parser, _key_command, _command_endpoint, _hook, _mcp_server, _shell, _git, _sandbox),
    *(_model_server, _keeper, _library, _fleet),
)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__.strip("_"))
async def test_a_program_sees_no_secret_of_the_environment(
    start: Callable[[Spy, Path], Awaitable[None]], spy: Spy, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    async with asyncio.timeout(60):
        await start(spy, work)
    environments = spy.environments()
    assert environments, "it was started"
    for seen in environments:
        assert CANARY not in seen
        assert "SECRET_CANARY" not in seen
        assert f"{ARRIVES}=arrives" in seen or "LC_ALL=C" in seen, "it is our environment, reduced"


STARTERS = {"run_program", "start_program", "Program", "Popen", "create_subprocess_exec"}
FORBIDDEN = {
    *("asyncio.create_subprocess_shell", "os.system", "os.popen", "os.posix_spawn", "pty.spawn"),
    *("os.spawnl", "os.spawnv", "os.spawnve", "os.execl", "os.execv", "os.execve", "os.execvp", "os.execvpe"),
    *("subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
}


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in Path(hyperguild.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                yield path, node, name


def test_every_program_is_started_without_a_shell_and_with_a_list() -> None:
    starts = 0
    for path, call, name in calls():
        where = f"{path}:{call.lineno}"
        assert ast.unparse(call.func) not in FORBIDDEN, where
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "shell" not in given, where
        if name not in STARTERS or path.name == "start.py":
            continue
        starts += 1
        environment = given.get("environment", given.get("env"))
        assert environment is not None, f"{where}: it would inherit ours"
        assert ast.unparse(environment) not in {"os.environ", "dict(os.environ)", "env"}, where
        assert not isinstance(call.args[0], ast.Constant), f"{where}: no string is a command line"
    assert starts >= 12, "the programs that are started are found"
