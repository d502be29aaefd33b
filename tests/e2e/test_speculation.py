"""Calls that are started on a guess, on the command line: used, and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: tell
description: Tells what is in a file.
allowed-tools: Read Write
---
Tell it.
"""
SPECULATE = r"""
skills:
  tell:
    chain: weak
    speculate:
      - {match: '(\w+\.txt)', tool: fs_read, arguments: {path: "{1}"}}
      - {when: [tell], tool: fs_write, arguments: {path: note.txt, content: written on a guess}}
"""


@pytest.fixture
def project(home: Any) -> Path:
    home.write("skills/tell/SKILL.md", SKILL)
    home.env["HYPERGUILD_SKILLS"] = str(home.folder / "skills")
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8").replace("16384", "32768")
    home.write(
        "chains.yaml", chains.replace("weak: [phi4]", "weak: [{model: phi4, verify: false}]") + SPECULATE
    )
    before = time.time() - 60  # of a file that was written just now nothing is guessed
    os.utime(home.write("project/a.txt", "what is in it\n"), (before, before))
    folder: Path = home.folder / "project"
    return folder


def scripted(fleet: FleetProcess, script: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    phi4 = {**script["models"]["phi-4-q4"], "answers": answers}
    fleet.script({**script, "models": {**script["models"], "phi-4-q4": phi4}})
    fleet.reset()


COMMAND = ("run", "tell", "tell what a.txt says", "--workdir", "project", "--events")


def test_i2_a_read_that_the_model_asks_for_is_done_already(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    read = {"tool_calls": [{"name": "fs_read", "arguments": {"path": "a.txt"}}], "times": 1, "delay_s": 0.3}
    scripted(fleet, script, [read, {"text": "what is in it"}])
    said = home.run(*COMMAND, "--permission-mode", "accept_edits")
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    settled = [one for one in events if one["type"] == "speculation.settled"]
    assert [(one["what"].split()[0], one["outcome"]) for one in settled[:2]] == [
        ("fs_read", "hit"),
        ("fs_write", "miss"),
    ]
    (result,) = [one for one in events if one["type"] == "tool.result"]
    assert result["text"] == "what is in it"
    called = next(one for one in events if one["type"] == "tool.call")
    assert result["ended_at"] < called["time"]
    assert not (project / "note.txt").exists()


def test_i6_what_would_have_to_be_asked_about_is_not_started(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, [{"text": "done", "delay_s": 0.2}])
    said = home.run(*COMMAND, "--permission-mode", "default")
    assert said.code == 0, said.err
    assert "speculation.started" not in said.out
    assert not (project / "note.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_i1_a_kill_in_the_middle_leaves_no_write_that_was_not_committed(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, number: int
) -> None:
    scripted(fleet, script, [{"text": "never", "delay_s": 30}])
    process = home.start(*COMMAND, "--permission-mode", "accept_edits")
    begun = 0
    for line in process.stdout:
        begun += "speculation.started" in line
        if begun == 2:
            break
    assert begun == 2, process.communicate()[1]
    process.send_signal(number)
    process.communicate(timeout=30)
    assert not (project / "note.txt").exists()
