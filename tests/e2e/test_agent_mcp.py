"""Tools of the MCP servers that chains.yaml names, on the command line: a scripted model uses them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp_support import HERE, runs, serving
from variants import mostly_long

from hyperguild.simulation.process import FleetProcess

PACKAGE = "@modelcontextprotocol/server-filesystem"
FETCH_LIMIT_S = 100.0
"""npm fetches the package the first time."""

BROKEN = "def mean(numbers):\n    return sum(numbers) / (len(numbers) - 1)\n"
MENDED = "def mean(numbers):\n    return sum(numbers) / len(numbers)\n"
TEST = "from stats import mean\n\nassert mean([1, 2, 3]) == 2, mean([1, 2, 3])\nprint('green')\n"
SMALL = [sys.executable, str(HERE / "mcp_server.py"), "stdio"]
TOKEN = "made-up-token-0123456789"
JUDGE = [{"judge": {"accept": True, "score": 0.9, "feedback": ""}}]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": name, "arguments": arguments}]}


class Project:
    """A folder with a skill that wants some tools, and a chain of one scripted model."""

    def __init__(self, home: Any, fleet: FleetProcess, script: dict[str, Any]) -> None:
        self.home, self.fleet, self._script = home, fleet, script
        self.folder: Path = home.folder / "project"
        self.folder.mkdir()
        home.env["HYPERGUILD_SKILLS"] = str(home.folder / "skills")

    def skill(self, allowed: str) -> None:
        text = (Path(__file__).parents[2] / "skills" / "debug" / "SKILL.md").read_text()
        own = next(line for line in text.splitlines() if line.startswith("allowed-tools:"))
        self.home.write("skills/debug/SKILL.md", text.replace(own, f"allowed-tools: {allowed}"))

    def servers(self, **servers: dict[str, Any]) -> None:
        file = self.home.folder / "chains.yaml"
        text = file.read_text(encoding="utf-8").replace(
            "16384", "32768"
        )  # no small window: all tools at once
        file.write_text(f"{text}mcp_servers: {json.dumps(servers)}\n", encoding="utf-8")
        yaml.safe_load(file.read_text(encoding="utf-8"))

    def model(self, *answers: dict[str, Any]) -> None:
        models = {**self._script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": list(answers)}}
        self.fleet.script({**self._script, "models": {**models, "judge": {"answers": JUDGE}}})
        self.fleet.reset()

    def command(self, *options: str) -> tuple[str, ...]:
        return ("run", "debug", "--workdir", "project", "--model", "phi4", *options, "the tests fail")

    def start(self, *options: str) -> subprocess.Popen[str]:
        running: subprocess.Popen[str] = self.home.start(*self.command(*options))
        return running

    def asked(self, *options: str) -> Any:
        return self.home.run(*self.command(*options))

    def bodies(self) -> list[Any]:
        return [one["body"] for one in self.fleet.requests() if one["model"] == "phi-4-q4"]

    def told(self) -> list[str]:
        return [message["content"] for message in self.bodies()[-1]["messages"] if message["role"] == "tool"]

    def offered(self) -> set[str]:
        return {tool["function"]["name"] for tool in self.bodies()[0].get("tools", ())}


@pytest.fixture
def project(home: Any, fleet: FleetProcess, script: dict[str, Any]) -> Project:
    return Project(home, fleet, script)


def why_no_npm() -> str | None:
    if shutil.which("npx") is None:
        return "npm is not installed"
    asked = subprocess.run(["npm", "view", PACKAGE, "version"], capture_output=True, text=True, check=False)
    return None if asked.returncode == 0 else f"npm cannot find {PACKAGE}: {asked.stderr[-200:]}"


def test_the_npm_file_system_server_reads_and_edits_to_green(project: Project) -> None:
    if (reason := why_no_npm()) is not None:
        pytest.skip(reason)
    project.home.write("project/stats.py", BROKEN)
    project.home.write("project/test_stats.py", TEST)
    project.home.env["HOME"] = os.environ["HOME"]  # where npm keeps its settings and what it has fetched
    project.skill("Bash mcp__files")
    project.servers(
        files={
            "argv": ["npx", "-y", PACKAGE, str(project.folder)],
            "read_only": ["read_*", "list_*"],
            "tools": ["read_text_file", "list_directory", "edit_file"],
            "start_timeout_s": FETCH_LIMIT_S,
        }
    )
    stats = str(project.folder / "stats.py")
    run_tests = call("shell", command="python3 test_stats.py")
    edits = [{"oldText": "(len(numbers) - 1)", "newText": "len(numbers)"}]
    project.model(
        run_tests,
        call("files_read_text_file", path=stats),
        call("files_edit_file", path=stats, edits=edits),
        run_tests,
        {"text": "It divided by one too few; it is mended and the test is green."},
    )
    said = project.asked("--permission-mode", "bypass", "--json")
    assert said.code == 0, said.err
    assert (project.folder / "stats.py").read_text() == MENDED
    assert project.offered() == {
        "shell",
        "files_read_text_file",
        "files_list_directory",
        "files_edit_file",
    }
    first, read, edited, last = project.told()
    assert first.startswith("exit code 1")
    assert read.strip() == BROKEN.strip()
    assert "+    return sum(numbers) / len(numbers)" in edited
    assert "green" in last
    judged = next(one["body"] for one in project.fleet.requests() if one["model"] == "judge")
    assert "files_edit_file" in judged["messages"][-1]["content"]
    assert "warning" not in said.err


def test_a_python_server_is_asked_in_its_folder_and_ends_with_the_command(project: Project) -> None:
    project.skill("mcp__small")
    project.servers(small={"argv": SMALL, "cwd": "project", "env": {"GITHUB_TOKEN": "${TOKEN_OF_MINE}"}})
    project.home.env["TOKEN_OF_MINE"] = TOKEN
    project.home.env["OTHER"] = "kept to ourselves"
    project.model(call("small_about"), {"text": "Now I know."})
    said = project.asked("--permission-mode", "bypass", "--events")
    assert said.code == 0, said.err
    returned = next(
        event for event in map(json.loads, said.out.splitlines()) if event["type"] == "tool.result"
    )
    assert not returned["is_error"]
    (told,) = project.told()
    about = json.loads(told)
    assert about["cwd"] == str(project.folder)
    assert about["env"]["GITHUB_TOKEN"] == TOKEN
    assert "OTHER" not in about["env"]
    assert TOKEN not in said.out
    assert "[secret:GITHUB_TOKEN]" in returned["text"]
    assert (
        TOKEN.encode()
        not in (Path(project.home.env["XDG_STATE_HOME"]) / "hyperguild/sessions.db").read_bytes()
    )
    assert not runs(about["pid"])


def test_a_server_at_an_address_gets_its_header(project: Project) -> None:
    project.skill("mcp__small")
    project.home.env["TOKEN_OF_MINE"] = TOKEN
    with serving("mcp_server.py", f"token={TOKEN}") as url:
        project.servers(small={"url": url, "headers": {"X-Token": "${TOKEN_OF_MINE}"}})
        project.model(call("small_echo", text="over HTTP"), {"text": "It says so."})
        said = project.asked("--permission-mode", "bypass")
    assert said.code == 0, said.err
    assert project.told() == ["over HTTP"]


def test_permissions_hold_for_tools_of_servers(project: Project) -> None:
    project.skill("mcp__small")
    project.servers(small={"argv": SMALL, "read_only": ["echo"]})
    project.model(call("small_echo", text="read"), call("small_big", size=3), {"text": "Done."})
    said = project.asked("--permission-mode", "auto")
    assert said.code == 0, said.err
    echoed, big = project.told()
    assert echoed == "read"
    assert "nobody is there to be asked" in big


def test_a_server_that_does_not_start_is_warned_of_and_the_run_goes_on(project: Project) -> None:
    project.skill("Read mcp__gone")
    project.servers(gone={"argv": ["no-such-program"]})
    project.model({"text": "I have no tools for that."})
    said = project.asked()
    assert said.code == 0, said.err
    assert said.err.count("MCP server 'gone' cannot be used: the program 'no-such-program' is not there") == 1
    assert project.offered() == {"fs_read"}
    project.model({"text": "I have no tools for that."})
    events = [json.loads(line) for line in project.asked("--events").out.splitlines()]
    (warning,) = [event["message"] for event in events if event["type"] == "warning"]
    assert "no-such-program" in warning


@pytest.mark.parametrize(
    ("allowed", "options"),
    mostly_long(
        ("Read", ()),
        ("Read mcp__small", ("--tools", "fs_*")),
        long=(("Read mcp__other", ()), ("mcp__smal", ())),
    ),
)
def test_a_server_that_nobody_wants_is_not_started(
    project: Project, allowed: str, options: tuple[str, ...]
) -> None:
    project.skill(allowed)
    project.servers(small={"argv": ["sh", "-c", "touch started"]})
    project.model({"text": "I looked."})
    told = {"PYTHONPROFILEIMPORTTIME": "1"}
    said = project.home.run_by_itself(*project.command(*options), env=told)
    assert said.code == 0, said.err
    assert not (project.home.folder / "started").exists()
    assert "hyperguild.adapters.tools.workbench" in said.err
    assert "hyperguild.adapters.tools.mcp" not in said.err


def test_a_discovered_file_with_a_server_must_be_trusted_first(project: Project) -> None:
    project.skill("mcp__small")
    project.servers(small={"argv": ["sh", "-c", "touch started"]})
    del project.home.env["HYPERGUILD_CONFIG"]
    said = project.asked()
    assert said.code == 3
    assert "runs: sh -c 'touch started'" in said.err
    assert not (project.home.folder / "started").exists()


def working_in(folder: Path) -> list[str]:
    """Return the processes whose working directory is the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink() == folder:
                found.append(entry.name)
        except OSError:
            continue  # it ended meanwhile
    return found


@pytest.mark.parametrize("argv", mostly_long(SMALL, long=(["sh", "-c", "touch began; sleep 300; true"],)))
def test_ctrl_c_ends_a_server_at_work_or_at_its_start(project: Project, until: Any, argv: list[str]) -> None:
    project.skill("mcp__small")
    project.servers(small={"argv": argv, "cwd": "project"})
    project.model(call("small_slow", folder=str(project.folder)), {"text": "Never."})
    running = project.start("--permission-mode", "bypass")
    until((project.folder / "began").exists)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    until(lambda: not working_in(project.folder))
    assert (project.folder / "cancelled").exists() == (argv is SMALL)


def test_a_deadline_counts_what_starting_a_server_takes(project: Project) -> None:
    project.skill("Read mcp__slow")
    project.servers(slow={"argv": ["sleep", "300"], "start_timeout_s": 2})
    project.model({"times": 1, "tool_calls": [{"name": "fs_ls", "arguments": {}}]}, {"text": "Late."})
    said = project.asked("--deadline", "1.5", "--json")
    assert said.code == 4, said.err
    assert json.loads(said.out)["status"] == "budget_exceeded"
