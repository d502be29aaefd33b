"""Hooks of chains.yaml on the command line: real programs steer a scripted model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from shells import working_sandbox

from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: mend
description: Mends a program.
allowed-tools: Read Bash
---
Find the fault and mend it.
"""
GUARD = """\
import json, sys
command = json.load(sys.stdin)["call"]["arguments"]["command"]
rewritten = {"arguments": {"command": "echo rewritten"}}
print(json.dumps({"deny": "people push"} if "push" in command else rewritten))
"""
MASK = """\
import json, sys
print(json.dumps({"text": json.load(sys.stdin)["result"]["text"].replace("rewritten", "masked")}))
"""
ASK_ONCE = """\
import json, os, sys
assert json.load(sys.stdin)["answer"]
if not os.path.exists("asked"):
    open("asked", "w").close()
    print(json.dumps({"continue": "Is that all?"}))
"""


def call(command: str) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": "shell", "arguments": {"command": command}}]}


@pytest.fixture
def hooked(home: Any, fleet: FleetProcess, script: dict[str, Any]) -> Path:
    home.write("skills/mend/SKILL.md", SKILL)
    hooks: dict[str, Any] = {"stop": [[sys.executable, "ask_once.py"]]}
    hooks["pre_tool"] = [{"argv": [sys.executable, "guard.py"], "tools": "shell"}]
    hooks["post_tool"] = [[sys.executable, "mask.py"]]
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8").replace("16384", "32768")
    home.write("chains.yaml", f"{chains}hooks: {json.dumps(hooks)}\n")
    for name, body in (("guard.py", GUARD), ("mask.py", MASK), ("ask_once.py", ASK_ONCE)):
        home.write(name, body)
    home.write("project/x", "")
    answers = [call("git push"), call("ls"), {"times": 1, "text": "Done."}, {"text": "Line 3: yes, all."}]
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": answers}}
    fleet.script({**script, "models": models})
    fleet.reset()
    return Path(home.folder)


def test_c7_commands_of_chains_yaml_deny_rewrite_mask_and_ask_on(home: Any, hooked: Path) -> None:
    arguments = ("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass", "--events")
    said = home.run("--config", "chains.yaml", *arguments)
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    results = [event for event in events if event["type"] == "tool.result"]
    assert [("people push" in one["text"], one["is_error"]) for one in results] == [
        (True, True),
        (False, False),
    ]
    assert "masked" in results[1]["text"]
    assert "rewritten" not in results[1]["text"]
    assert events[-1]["result"]["output"] == "Line 3: yes, all."
    assert (hooked / "asked").exists()


def test_c7_the_steps_tell_what_a_hook_said_from_what_the_model_did(home: Any, hooked: Path) -> None:
    arguments = ("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass")
    assert home.run("--config", "chains.yaml", *arguments).code == 0
    first = home.run("sessions", "show", "last").out
    (led_on,) = [line.split("hyperguild ")[1] for line in first.splitlines() if line.endswith("--steps")]
    lines = home.run(*led_on.split()).out.splitlines()
    assert "steps of attempt 1, phi4" in lines
    told = lines.index("  the model is told")
    assert lines[told + 1 : told + 3] == ["    Is that all?", "  Line 3: yes, all."]


def test_c7_a_file_with_hooks_that_nobody_trusts_runs_nothing(home: Any, hooked: Path) -> None:
    del home.env["HYPERGUILD_CONFIG"]  # so that the file is come upon, not named
    said = home.run("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass")
    assert said.code == 3
    assert "guard.py" in said.error
    assert not (hooked / "asked").exists()


@pytest.mark.parametrize("workspace", ["shared", "worktree"])
def test_c3_no_tool_writes_the_programs_that_chains_yaml_runs(
    home: Any, fleet: FleetProcess, script: dict[str, Any], workspace: str
) -> None:
    working_sandbox()
    project = Path(home.folder) / "project"
    home.write("skills/mend/SKILL.md", SKILL.replace("Read Bash", "Read Write Edit Bash"))
    home.write("project/tools/guard.py", "import sys; sys.stdin.read()\n")
    for words in ("init -q", "add -A", "-c user.name=U -c user.email=u@example.com commit -qm first"):
        subprocess.run(["git", *words.split()], cwd=project, check=True)
    chains = yaml.safe_load((Path(home.folder) / "chains.yaml").read_text(encoding="utf-8"))
    chains["hooks"] = {"pre_tool": [[sys.executable, "project/tools/guard.py"]]}
    chains["chains"]["default"] = {
        "tiers": ["phi4"],
        "agent": {"workspace": workspace, "two_stage": "never", "permission_mode": "bypass"},
    }
    home.write("chains.yaml", yaml.safe_dump(chains))
    write = {"name": "fs_write", "arguments": {"path": "tools/guard.py", "content": "evil()"}}
    shell = "echo evil > tools/guard.py; mv tools other; rm -rf tools; echo fine > new.txt"
    calls = [{"times": 1, "tool_calls": [write]}, call(shell), {"text": "Line 3: done."}]
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": calls}}
    fleet.script({**script, "models": models})
    fleet.reset()
    said = home.run("--config", "chains.yaml", "run", "mend", "x", "--workdir", "project", "--events")
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    written, _ = [event for event in events if event["type"] == "tool.result"]
    assert "a program that chains.yaml runs" in written["text"]
    assert (project / "tools/guard.py").read_text() == "import sys; sys.stdin.read()\n"
    assert (project / "new.txt").read_text() == "fine\n"
