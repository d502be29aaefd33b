"""A skill with tools, on the command line: a scripted model works in a real folder."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

BROKEN = "def mean(numbers):\n    return sum(numbers) / (len(numbers) - 1)\n"
MENDED = "def mean(numbers):\n    return sum(numbers) / len(numbers)\n"
TEST = "from stats import mean\n\nassert mean([1, 2, 3]) == 2, mean([1, 2, 3])\nprint('green')\n"
SKILL = """\
---
name: mend
description: Mends a program.
allowed-tools: Read Edit Bash
---
Find the fault and mend it.
"""


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": name, "arguments": arguments}]}


RUN_TESTS = call("shell", command="python3 test_stats.py")
EDIT = call("fs_edit", path="stats.py", old="(len(numbers) - 1)", new="len(numbers)")
CAPABLE = [
    RUN_TESTS,
    call("fs_read", path="stats.py"),
    EDIT,
    RUN_TESTS,
    {"text": "It divided by one too few; it is mended and the test is green."},
]
JUDGE = [
    {
        "when": {"contains": "<changes"},
        "judge": {"accept": True, "score": 0.9, "feedback": ""},
    },
    {"judge": {"accept": False, "score": 0.1, "feedback": "nothing was done"}},
]


@pytest.fixture
def project(home: Any) -> Path:
    home.write("skills/mend/SKILL.md", SKILL)
    chains = (home.folder / "chains.yaml").read_text(encoding="utf-8")
    home.write("chains.yaml", chains.replace("16384", "32768"))  # no small window: all tools at once
    home.write("project/stats.py", BROKEN)
    home.write("project/test_stats.py", TEST)
    folder: Path = home.folder / "project"
    return folder


def log_of(home: Any) -> Path:
    return Path(home.env["XDG_STATE_HOME"]) / "hyperguild" / "sessions.db"


def scripted(fleet: FleetProcess, script: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": answers}}
    fleet.script({**script, "models": {**models, "judge": {"answers": JUDGE}}})
    fleet.reset()


def test_a_capable_model_finds_edits_and_runs_to_green(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, CAPABLE)
    said = home.run("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass", "--json")
    assert said.code == 0, said.err
    assert (project / "stats.py").read_text() == MENDED
    result = said.json
    assert (result["model"], result["attempts"][0]["score"]) == ("phi4", 0.9)
    assert "fs_edit stats.py" in said.err
    bodies = [one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4"]
    told = [message["content"] for message in bodies[-1]["messages"] if message["role"] == "tool"]
    assert told[0].startswith("exit code 1")
    assert "green" in told[3]
    body = next(one["body"] for one in fleet.requests() if one["model"] == "judge")
    judged = body["messages"][-1]["content"]
    assert "Files written: stats.py" in judged
    assert "python3 test_stats.py → exit code 0" in judged


@pytest.mark.parametrize(
    ("then", "cause"),
    [
        ({"error": {"status": 500, "message": "it fell over"}}, "server"),
        (
            {"error": {"status": 400, "message": "too long", "code": "context_length_exceeded"}},
            "context_overflow",
        ),
    ],
)
def test_a6_spent_retries_and_overflow_tell_the_next_tier_what_was_done(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, then: dict[str, Any], cause: str
) -> None:
    scripted(fleet, script, [EDIT, then])
    said = home.run(
        *("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass", "--json")
    )
    first, second = said.json["attempts"][:2]
    assert (first["verdict"], first["cause"]) == ("error", cause)
    assert first["feedback"].startswith("the attempt failed in step 2: ")
    assert "Files written: stats.py" in first["feedback"]
    body = next(one["body"] for one in fleet.requests() if one["model"] == second["model"])
    told = body["messages"][-1]["content"]
    assert told.startswith("mend it\n\n## Prior attempt feedback\nHow phi4 failed")
    assert "Files written: stats.py" in told


def test_h2_every_step_is_in_the_log_as_it_ends(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, CAPABLE)
    said = home.run("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass")
    assert said.code == 0, said.err
    with closing(sqlite3.connect(log_of(home))) as log:
        steps = log.execute("SELECT position, messages FROM steps ORDER BY rowid").fetchall()
    assert [position for position, _ in steps] == [0, 1, 2, 3, 4]
    roles = [[message["role"] for message in json.loads(messages)] for _, messages in steps]
    assert roles == [["system", "user", "assistant", "tool"], *[["assistant", "tool"]] * 3, ["assistant"]]


def test_events_tell_of_every_call(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, CAPABLE)
    said = home.run(
        "run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass", "--events"
    )
    events = [json.loads(line) for line in said.out.splitlines()]
    called = [event["name"] for event in events if event["type"] == "tool.call"]
    assert called == ["shell", "fs_read", "fs_edit", "shell"]
    returned = [event for event in events if event["type"] == "tool.result"]
    assert [event["is_error"] for event in returned] == [False] * 4
    assert all(event["started_at"] <= event["ended_at"] for event in returned)


def test_a_rerun_works_where_and_as_the_run_did(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, CAPABLE)
    assert home.run("run", "mend", "mend it", "--workdir", "project", "--permission-mode", "bypass").code == 0
    home.write("project/stats.py", BROKEN)
    scripted(fleet, script, CAPABLE)
    said = home.run("rerun", "last", "--json")
    assert said.code == 0, said.err
    assert (project / "stats.py").read_text() == MENDED
    project.rename(home.folder / "elsewhere")
    gone = home.run("rerun", "last")
    assert (gone.code, "the work directory of that run is gone" in gone.error) == (2, True)


def test_without_a_work_directory_no_tool_is_offered(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, [{"text": "Show me the code."}])
    home.run("run", "mend", "mend it", "--model", "phi4")
    body = next(one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4")
    assert "tools" not in body


def test_c3_where_nobody_can_be_asked_nothing_is_done(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, [EDIT, {"text": "I may not."}])
    home.run("run", "mend", "mend it", "--workdir", "project", "--model", "phi4")
    assert (project / "stats.py").read_text() == BROKEN
    body = [one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4"][-1]
    assert "nobody is there to be asked" in body["messages"][-1]["content"]


@pytest.mark.parametrize(("typed", "text"), [("y", MENDED), ("n", BROKEN)])
def test_c3_on_a_terminal_the_edit_is_shown_and_asked_about(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, typed: str, text: str
) -> None:
    scripted(fleet, script, [EDIT, {"text": "Done."}])
    seen = on_terminal(home, ["run", "mend", "mend it", "--workdir", "project", "--model", "phi4"], typed)
    drawn, asked = seen.split("permission mode", 1)[0], seen.split("Allow it?", 1)[0]
    assert "\x1b[2K" in drawn.rsplit("phi4", 1)[1]  # the table makes room for the question
    assert "-    return sum(numbers) / (len(numbers) - 1)" in asked
    assert "+    return sum(numbers) / len(numbers)" in asked
    assert (project / "stats.py").read_text() == text


def test_c3_what_was_typed_before_the_question_is_no_answer_to_it(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(fleet, script, [EDIT, {"text": "Done."}])
    arguments = ["run", "mend", "mend it", "--workdir", "project", "--model", "phi4"]
    on_terminal(home, arguments, "n", ahead="y\na\n")
    assert (project / "stats.py").read_text() == BROKEN


def on_terminal(home: Any, arguments: list[str], typed: str, *, ahead: str = "") -> str:
    """Run the command on a terminal of its own, and type the answer to its question.

    `ahead` is typed before anything is asked.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home.folder)
        os.execve(sys.executable, [sys.executable, "-m", "hyperguild", *arguments], home.env)  # noqa: S606
    os.write(terminal, ahead.encode())
    seen, answered = b"", False
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
        if not answered and b"Allow it?" in seen:
            answered = True
            os.write(terminal, f"{typed}\n".encode())
    os.close(terminal)
    os.waitpid(pid, 0)
    return seen.decode(errors="replace")


def test_c1_a_path_that_leaves_the_work_directory_is_refused(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    home.write("secret.txt", "the secret")
    (project / "link").symlink_to(home.folder / "secret.txt")
    ways = ["../secret.txt", str(home.folder / "secret.txt"), "link"]
    scripted(fleet, script, [*(call("fs_read", path=way) for way in ways), {"text": "I cannot."}])
    home.run(
        "run", "mend", "read it", "--workdir", "project", "--permission-mode", "bypass", "--model", "phi4"
    )
    body = [one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4"][-1]
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    assert len(told) == 3
    assert "the secret" not in json.dumps(body["messages"])


def test_c6_a_large_result_is_kept_whole_and_shown_by_its_ends(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path
) -> None:
    scripted(
        fleet,
        script,
        [call("shell", command="seq 1 100000"), {"text": "Many numbers."}],
    )
    home.run("run", "mend", "count", "--workdir", "project", "--permission-mode", "bypass", "--model", "phi4")
    body = [one["body"] for one in fleet.requests() if one["model"] == "phi-4-q4"][-1]
    (told,) = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    assert len(told) < 32768 * 4 / 3 + 500
    assert "left out; the whole is in session:/" in told
    (kept,) = Path(home.env["XDG_STATE_HOME"]).glob("hyperguild/results/*/*.txt")
    assert kept.read_text().count("\n") > 99_000
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_h1_ctrl_c_in_the_middle_of_a_tool_stops_it_and_keeps_the_step(
    home: Any, fleet: FleetProcess, script: dict[str, Any], project: Path, until: Any
) -> None:
    waiting = "touch started; sleep 300; touch ended"
    scripted(fleet, script, [call("shell", command=waiting)])
    running = home.start(
        *("run", "mend", "wait", "--workdir", "project", "--permission-mode", "bypass", "--model", "phi4")
    )
    until((project / "started").exists)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    assert not (project / "ended").exists()
    left = subprocess.run(["pgrep", "-f", "sleep 300; touch ended"], capture_output=True, check=False)
    assert left.returncode == 1
    with closing(sqlite3.connect(log_of(home))) as log:
        (messages,) = log.execute("SELECT messages FROM steps ORDER BY rowid DESC").fetchone()
    last = json.loads(messages)[-1]
    assert (last["role"], last["is_error"]) == ("tool", True)
    assert "interrupted" in last["content"]
