"""C11 on the command line: a cloud model searches by itself, and has a tool of its own run by our shell."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: look
description: Looks things up.
allowed-tools: Bash
---
Look it up.
"""
TOOLS = """\
provider_tools:
      - {type: web_search_20250305, name: web_search, max_uses: 3}
      - {type: bash_20250124, name: bash, runner: shell}
"""
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "s1",
    "content": [{"type": "web_search_result", "url": "https://x.example", "title": "X"}],
}
BASH = {
    "type": "tool_use",
    "id": "t1",
    "name": "bash",
    "input": {"command": "echo 4 > found.txt; cat found.txt"},
}


@pytest.fixture
def project(home: Any) -> Path:
    home.write("skills/look/SKILL.md", SKILL)
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    declared = (
        "claude-sonnet-4-6: {endpoint: cloud, price: {input: 3.0, output: 15.0}, max_output_tokens: 100}"
    )
    assert declared in chains
    own = f"claude-sonnet-4-6:\n    endpoint: cloud\n    price: {{input: 3.0, output: 15.0}}\n    {TOOLS}"
    home.write("chains.yaml", chains.replace(declared, own))
    folder: Path = home.folder / "project"
    folder.mkdir()
    return folder


def looked(home: Any, fleet: FleetProcess, script: dict[str, Any], mode: str) -> Any:
    answers = [
        {"content": [SEARCH], "finish_reason": "pause_turn", "times": 1},
        {"content": [FOUND, BASH], "finish_reason": "tool_use", "times": 1},
        {"text": "It is 4."},
    ]
    fleet.script({**script, "anthropic": {"models": {"claude-sonnet-4-6": {"answers": answers}}}})
    fleet.reset()
    return home.run(
        *("run", "look", "what is it?", "--workdir", "project", "--model", "claude-sonnet-4-6"),
        *("--permission-mode", mode, "--json"),
    )


def test_c11_a_search_a_pause_and_a_command_in_one_run(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    said = looked(home, fleet, script, "bypass")
    assert said.code == 0, said.err
    assert said.json["output"] == "It is 4."
    assert (project / "found.txt").read_text() == "4\n"
    first, second, third = (one["body"] for one in fleet.requests() if one["body"])
    assert [tool["name"] for tool in first["tools"]] == ["web_search", "bash"]
    assert [block["type"] for block in second["messages"][-1]["content"]] == ["server_tool_use"]
    types = [block["type"] for block in third["messages"][1]["content"]]
    assert types == ["server_tool_use", "web_search_tool_result", "tool_use"]
    assert "4" in third["messages"][2]["content"][0]["content"]
    with closing(sqlite3.connect(Path(home.env["XDG_STATE_HOME"]) / "hyperguild" / "sessions.db")) as log:
        rows = log.execute("SELECT messages FROM steps ORDER BY rowid").fetchall()
    messages = [message for (text,) in rows for message in json.loads(text)]
    assert [message["sources"] for message in messages if "sources" in message] == [
        [{"url": "https://x.example", "title": "X"}]
    ]


def test_c11_a_tool_with_a_runner_needs_the_runners_permission(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    looked(home, fleet, script, "default")
    assert not (project / "found.txt").exists()
    body = [one["body"] for one in fleet.requests() if one["body"]][-1]
    (result,) = body["messages"][-1]["content"]
    assert result["is_error"]
    assert "nobody is there to be asked" in result["content"]
