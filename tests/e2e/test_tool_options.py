"""C2 on the command line: what `--tools`, `--allow-path` and `--tool-choice` bind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: work
description: Works on files.
allowed-tools: Read Write Grep
---
Work.
"""


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": name, "arguments": arguments}]}


@pytest.fixture
def project(home: Any) -> Path:
    home.write("skills/work/SKILL.md", SKILL)
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    home.write("chains.yaml", chains.replace("16384", "32768"))  # no small window: all tools at once
    home.write("project/a.txt", "inside")
    home.write("beside/b.txt", "beside it")
    folder: Path = home.folder / "project"
    return folder


def worked(
    home: Any, fleet: FleetProcess, script: dict[str, Any], answers: list[dict[str, Any]], *options: str
) -> list[dict[str, Any]]:
    """Run the skill on phi4 with everything allowed; return the bodies of its requests."""
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": [*answers, {"text": "Done."}]}}
    fleet.script({**script, "models": models})
    fleet.reset()
    home.run(
        *("run", "work", "work", "--workdir", "project", "--permission-mode", "bypass", "--model", "phi4"),
        *options,
    )
    return [one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4"]


def results(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def test_c2_only_the_listed_tools_are_offered_and_executed(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    writing = call("fs_write", path="c.txt", content="x")
    bodies = worked(home, fleet, script, [writing, call("shell", command="ls")], "--tools", "fs_read,fs_gr*")
    assert [tool["function"]["name"] for tool in bodies[0]["tools"]] == ["fs_read", "fs_grep"]
    assert not (project / "c.txt").exists()
    assert all("does not exist" in text for text in results(bodies[-1]))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fs_raed", 'did you mean "fs_read"?'),
        ("Read", 'did you mean "fs_read"?'),
        ("mcp__files", 'did you mean "files_*"?'),
        ("everything", "there are delegate, fs_edit,"),
    ],
)
def test_c2_a_name_that_no_tool_can_bear_is_refused(home: Any, project: Path, name: str, hint: str) -> None:
    said = home.run("run", "work", "work", "--workdir", "project", "--tools", f"fs_ls,files_read,fs_*,{name}")
    assert said.code == 2
    assert f'no tool is called "{name}" here ({hint}' in said.error


def test_c2_an_allowed_path_is_opened_for_this_run_alone(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    reading = call("fs_read", path=str(project.parent / "beside" / "b.txt"))
    refused = worked(home, fleet, script, [reading])
    assert "beside it" not in results(refused[-1])[0]
    allowed = worked(home, fleet, script, [reading], "--allow-path", "beside")
    assert "beside it" in results(allowed[-1])[0]


def test_c2_the_tool_choice_binds_the_first_step_only(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    reading = call("fs_read", path="a.txt")
    bodies = worked(home, fleet, script, [reading], "--tool-choice", "required")
    assert [body["tool_choice"] for body in bodies] == ["required", "auto"]
    bodies = worked(home, fleet, script, [], "--tool-choice", "none")
    assert [body["tool_choice"] for body in bodies] == ["none"]
    bodies = worked(home, fleet, script, [reading])
    assert [body["tool_choice"] for body in bodies] == ["auto", "auto"]


@pytest.mark.parametrize("how", ["--private", "none", ""])
def test_c6_results_of_a_run_without_a_log_of_its_content_are_not_left_behind(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, how: str
) -> None:
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8").replace("32768", "17000")
    home.write("chains.yaml", f"{chains}log: {{content: none}}\n" if how == "none" else chains)
    home.write("project/long.txt", "it is nobody else's business\n" * 1200)
    options = ("--private",) if how == "--private" else ()
    home.write("skills/work/SKILL.md", SKILL.replace("Grep", "Grep Bash"))
    read = [call("shell", command="cat long.txt"), call("fs_grep", pattern="nobody", path="session:/")]
    bodies = worked(home, fleet, script, read, *options)
    whole, found = results(bodies[-1])
    assert "the whole is in session:/shell-call_1.txt" in whole
    assert "nobody else's business" in found  # as long as the attempt lasts
    state = Path(home.env["XDG_STATE_HOME"]) / "hyperguild" / "results"
    left = [path.name for path in state.rglob("*.txt")]
    assert left == ([] if how else ["shell-call_1.txt"])
