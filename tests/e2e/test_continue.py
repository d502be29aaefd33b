"""Runs that did not come to their end: killed, interrupted, waiting for their caller; and how they go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp_support import HERE

from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: mend
description: Mends a program.
allowed-tools: Read Edit Bash
---
Find the fault and mend it.
"""
WAIT = "touch started; sleep 300; touch ended"
TOOLS = ("--workdir", "project", "--permission-mode", "bypass")
WEATHER = [
    {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
Until = Callable[[Callable[[], Any]], Any]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": name, "arguments": arguments}]}


@pytest.fixture
def project(home: Any) -> Path:
    home.write("skills/mend/SKILL.md", SKILL)
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    home.write("chains.yaml", chains.replace("16384", "32768"))  # no small window: all tools at once
    home.write("project/notes.txt", "the notes\n")
    folder: Path = home.folder / "project"
    return folder


def scripted(fleet: FleetProcess, script: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": answers}}
    accepts = {"judge": {"accept": True, "score": 0.9, "feedback": ""}}
    fleet.script({**script, "models": {**models, "judge": {"answers": [accepts]}}})
    fleet.reset()


def asked(fleet: FleetProcess, model: str = "phi-4-q4") -> list[list[dict[str, Any]]]:
    """What the model was sent, request by request."""
    return [one["body"]["messages"] for one in fleet.requests() if one["model"] == model]


def kill(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.communicate(timeout=20)


def killed_in_step_2(home: Any, fleet: FleetProcess, script: dict[str, Any], until: Until) -> None:
    """Leave a run that was killed while a tool of its second step ran."""
    project = home.folder / "project"
    scripted(fleet, script, [call("fs_read", path="notes.txt"), call("shell", command=WAIT)])
    running = home.start("run", "mend", "mend it", *TOOLS)
    until((project / "started").exists)
    kill(running)
    (project / "started").unlink()


def run_of(home: Any) -> dict[str, Any]:
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    assert isinstance(run, dict)
    return run


def called(messages: list[dict[str, Any]]) -> list[str]:
    return [one["function"]["name"] for message in messages for one in message.get("tool_calls") or ()]


def test_h2_a_killed_run_goes_on_after_its_last_persisted_step(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    killed_in_step_2(home, fleet, script, until)
    before = run_of(home)
    assert before["status"] == "interrupted"
    scripted(fleet, script, [call("shell", command="echo again"), {"text": "It is mended."}])
    said = home.run("run", "--session", "last", "--continue", "--json")
    assert said.code == 0, said.err
    first, last = asked(fleet)
    assert called(first) == ["fs_read"]  # what was persisted; the model is not asked for it again
    assert "the notes" in first[-1]["content"]
    assert called(last) == ["fs_read", "shell"]
    result = said.json
    assert (result["run_id"], result["session_id"]) == (before["run_id"], before["session_id"])
    assert (result["status"], result["output"]) == ("accepted", "It is mended.")
    [attempt] = result["attempts"]
    after = run_of(home)
    assert {step["attempt_id"] for step in after["steps"]} == {attempt["attempt_id"]}
    assert before["steps"][0]["attempt_id"] == attempt["attempt_id"]
    assert [step["position"] for step in after["steps"]] == [0, 1, 2]
    used = sum(step["usage"]["input_tokens"] for step in after["steps"])
    assert attempt["usage"]["input_tokens"] == used
    assert not (project / "ended").exists()


@pytest.mark.long
def test_h2_a_run_that_was_killed_twice_goes_on(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    killed_in_step_2(home, fleet, script, until)
    scripted(fleet, script, [call("shell", command="echo one"), call("shell", command=WAIT)])
    running = home.start("run", "--continue")
    until((project / "started").exists)
    kill(running)
    home.write("skills/mend/SKILL.md", SKILL.replace("Find the fault", "Look for the fault"))
    scripted(fleet, script, [{"text": "It is mended."}])
    said = home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    assert 'warning: the skill "mend" has changed; going on with its prompt of then' in said.err
    [sent] = asked(fleet)
    assert sent[0]["content"].startswith("Find the fault")
    assert called(sent) == ["fs_read", "shell"]
    assert [step["position"] for step in run_of(home)["steps"]] == [0, 1, 2]
    assert said.json["attempts"][0]["score"] == 0.9


def test_h2_a_run_that_was_killed_before_its_verdict_is_not_answered_again(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    slow = {"judge": {"accept": True, "score": 0.9, "feedback": ""}, "first_token_s": 300}
    models = {
        **script["models"],
        "phi-4-q4": {
            "aliases": ["phi4"],
            "answers": [call("shell", command="touch made"), {"text": "It is mended."}],
        },
    }
    fleet.script({**script, "models": {**models, "judge": {"answers": [slow]}}})
    running = home.start("run", "mend", "mend it", *TOOLS)
    until(lambda: asked(fleet, "judge"))
    kill(running)
    scripted(fleet, script, [{"text": "another answer"}])
    said = home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    assert (said.json["output"], asked(fleet)) == ("It is mended.", [])
    judged = asked(fleet, "judge")[0][-1]["content"]
    assert "touch made → exit code 0" in judged  # what it changed before it was killed


def test_h1_ctrl_c_in_the_middle_of_two_running_tools_and_then_on(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    home.write("skills/mend/SKILL.md", SKILL.replace("Bash", "mcp__small"))
    argv = [sys.executable, str(HERE / "mcp_server.py"), "stdio"]
    servers = {"small": {"argv": argv, "read_only": ["slow"]}}
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    home.write("chains.yaml", f"{chains}mcp_servers: {json.dumps(servers)}\n")
    folders = [project / "one", project / "two"]
    for folder in folders:
        folder.mkdir()
    slow = [{"name": "small_slow", "arguments": {"folder": str(folder)}} for folder in folders]
    read = {"name": "fs_read", "arguments": {"path": "notes.txt"}}
    scripted(fleet, script, [{"times": 1, "tool_calls": [read, *slow]}])
    running = home.start("run", "mend", "mend it", *TOOLS)
    until(lambda: all((folder / "began").exists() for folder in folders))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    until(lambda: all((folder / "cancelled").exists() for folder in folders))
    scripted(fleet, script, [{"text": "It is mended."}])
    said = home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    [sent] = asked(fleet)
    assert called(sent) == ["fs_read", "small_slow", "small_slow"]
    calls = [one["id"] for message in sent for one in message.get("tool_calls") or ()]
    told = [message for message in sent if message["role"] == "tool"]
    assert [message["tool_call_id"] for message in told] == calls
    assert "the notes" in told[0]["content"]
    assert [message["content"] for message in told[1:]] == ["interrupted before it produced a result"] * 2
    cancelled, accepted = said.json["attempts"]
    assert (cancelled["cause"], accepted["verdict"]) == ("cancelled", "accept")
    assert (cancelled["model"], cancelled["position"]) == (accepted["model"], accepted["position"])


def test_c9_a_run_waits_for_its_caller_and_goes_on_after_a_restart(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    home.write("tools.json", json.dumps(WEATHER))
    both = [
        {"name": "fs_read", "arguments": {"path": "notes.txt"}},
        {"name": "weather", "arguments": {"city": "Oslo"}},
    ]
    scripted(fleet, script, [{"times": 1, "tool_calls": both}])
    said = home.run("run", "mend", "mend it", *TOOLS, "--external-tools", "tools.json", "--json")
    assert said.code == 6, said.err
    paused = said.json
    [waiting] = paused["pending_tool_calls"]
    assert (paused["status"], paused["output"], paused["attempts"]) == ("awaiting_tools", None, [])
    assert (waiting["name"], waiting["arguments"]) == ("weather", {"city": "Oslo"})
    assert f"weather ({waiting['id']})" in said.error
    assert f"hyperguild run --session {paused['session_id']} --continue --tool-results FILE" in said.err
    assert paused["usage"]["output_tokens"] > 0

    missing = home.run("run", "--continue")
    assert (missing.code, f"weather ({waiting['id']})" in missing.error) == (2, True)
    stray = json.dumps([{"id": "call_x", "content": ""}])
    unknown = home.run("run", "--continue", "--tool-results", "-", stdin=stray)
    assert (unknown.code, "call_x" in unknown.error) == (2, True)

    scripted(fleet, script, [{"text": "It rains in Oslo."}])
    results = json.dumps([{"id": waiting["id"], "content": "rain\n" * 20_000}])
    gone_on = home.run("run", "--continue", "--tool-results", "-", "--json", stdin=results)
    assert gone_on.code == 0, gone_on.err
    [sent] = asked(fleet)
    told = [message["content"] for message in sent if message["role"] == "tool"]
    assert "the notes" in told[0]
    assert told[1].startswith("rain\n")
    assert "left out; the whole is in session:/" in told[1]
    assert gone_on.json["run_id"] == paused["run_id"]
    [attempt] = gone_on.json["attempts"]
    assert attempt["usage"]["output_tokens"] > paused["usage"]["output_tokens"]
    assert gone_on.json["pending_tool_calls"] == []


@pytest.mark.parametrize("how", ["--private", "log: {content: metadata}\n"])
def test_c9_a_run_whose_content_is_not_stored_cannot_wait_for_its_caller(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, how: str
) -> None:
    home.write("tools.json", json.dumps(WEATHER))
    scripted(fleet, script, [call("weather", city="Oslo")])
    options: tuple[str, ...] = ("--external-tools", "tools.json")
    if how == "--private":
        options = (*options, how)
    else:
        home.write("chains.yaml", (home.folder / "chains.yaml").read_text(encoding="utf-8") + how)
    said = home.run("run", "mend", "mend it", *TOOLS, *options)
    assert (said.code, "cannot wait for the results of external tools" in said.error) == (2, True)
    assert asked(fleet) == []


@pytest.mark.long
def test_h2_placeholders_of_secrets_that_cannot_be_put_back_are_named(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    (project / "notes.txt").write_text("AKIAABCDEFGHIJKLMNOP and made-up-cloud-key-0123456789\n")
    killed_in_step_2(home, fleet, script, until)
    scripted(fleet, script, [{"text": "It is mended."}])
    said = home.run("run", "--continue")
    assert (said.code, asked(fleet)) == (2, [])
    assert "cannot be put back: aws" in said.error
    assert "CLOUD_KEY" not in said.err
    assert run_of(home)["status"] == "interrupted"


def test_h2_configured_keys_are_put_back_but_not_where_a_file_spells_their_placeholder(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    (project / "notes.txt").write_text("it said [secret:CLOUD_KEY]\n")
    scripted(fleet, script, [call("fs_read", path="notes.txt"), call("shell", command=WAIT)])
    running = home.start("run", "mend", "mend it with made-up-cloud-key-0123456789", *TOOLS)
    until((project / "started").exists)
    kill(running)
    assert run_of(home)["task"] == "mend it with [secret:CLOUD_KEY]"
    scripted(fleet, script, [{"text": "It is mended."}])
    said = home.run("run", "--continue")
    assert said.code == 0, said.err
    [sent] = asked(fleet)
    assert sent[1]["content"] == "mend it with made-up-cloud-key-0123456789"
    assert "it said [secret:CLOUD_KEY]" in sent[-1]["content"]


def test_h2_a_run_that_is_alive_is_left_alone_and_one_of_another_chain_refused(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    scripted(fleet, script, [call("shell", command=WAIT)])
    running = home.start("run", "mend", "mend it", *TOOLS)
    until((project / "started").exists)
    said = home.run("run", "--continue")
    assert (said.code, "under way in another process" in said.error) == (2, True)
    kill(running)
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    home.write("chains.yaml", chains.replace("default: [phi4, qwen, claude-sonnet-4-6]", "other: [phi4]"))
    said = home.run("run", "--continue")
    assert (said.code, 'there is no chain "default"' in said.error) == (3, True)


@pytest.mark.long
def test_a_plain_attempt_that_was_interrupted_is_made_anew(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Until
) -> None:
    scripted(fleet, script, [{"text": "never", "first_token_s": 300}])
    running = home.start("run", "review", "x", "--max-cost", "0.2")
    until(lambda: asked(fleet))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    scripted(fleet, script, [{"text": "## Findings: Line 3."}])
    said = home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    [sent] = asked(fleet)
    assert [message["role"] for message in sent] == ["system", "user"]
    assert [one["verdict"] for one in said.json["attempts"]] == ["error", "accept"]


def test_h2_an_attempt_whose_worktree_does_not_fit_any_more_is_told_so(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Until
) -> None:
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    worktrees = "default: {tiers: [{model: phi4, agent: {workspace: worktree}}]}"
    home.write("chains.yaml", chains.replace("default: [phi4, qwen, claude-sonnet-4-6]", worktrees))
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    edit = call("fs_edit", path="notes.txt", old="the notes", new="better notes")
    scripted(fleet, script, [edit, {"text": "never", "first_token_s": 300}])
    running = home.start("run", "mend", "mend it", *TOOLS)
    until(lambda: len(asked(fleet)) == 2)
    kill(running)
    (project / "notes.txt").write_text("my own the notes\n")
    scripted(fleet, script, [edit, {"text": "It is mended."}])
    said = home.run("run", "--continue")
    assert said.code == 0, said.err
    assert "what phi4 had changed cannot be brought back" in said.err
    assert "work directory was set up anew" in asked(fleet)[0][-1]["content"]
    assert (project / "notes.txt").read_text() == "my own better notes\n"
