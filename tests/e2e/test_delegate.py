"""C12 on the command line: a skill hands tasks to another one; what is shown, logged and left of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from delegating import config, delegates, does, scripted, skill

from hyperguild import Guild
from hyperguild.simulation.process import FleetProcess

DONE = {"text": "All done."}


@pytest.fixture
def place(home: Any, fleet: FleetProcess) -> Any:
    """The user's folder, with the skills `lead` and `work`."""
    home.write("chains.yaml", config(fleet, agent=", rules: {allow: [delegate]}"))
    home.env["HYPERGUILD_SKILLS"] = str(home.folder / "skills")
    skill(home.folder / "skills", "lead", body="Lead.")
    skill(home.folder / "skills", "work", more="allowed-tools: Read\n")
    return home


def test_c12_progress_is_shown_and_the_answer_is_that_of_the_parent(place: Any, fleet: FleetProcess) -> None:
    scripted(
        fleet, [delegates("one", "two", "three"), DONE], [does("o", "a part"), does("three", "the last")]
    )
    said = place.run("run", "lead", "do it")
    assert (said.code, said.out) == (0, "All done.\n"), said.err
    lines = said.err.splitlines()
    assert "delegates 3 tasks to work" in lines
    ended = [line for line in lines if line.startswith("  work ")]
    assert [line.split(":")[0] for line in ended] == ["  work 1/3", "  work 2/3", "  work 3/3"]
    assert all("accepted: hand (local)" in line for line in ended)
    assert len([line for line in lines if line.startswith("accepted: boss")]) == 1


def test_c12_json_and_events_end_with_the_result_of_the_parent(place: Any, fleet: FleetProcess) -> None:
    for option in ("--json", "--events"):
        scripted(fleet, [delegates("one", "two"), DONE], [{"text": "a part"}])
        said = place.run("run", "lead", "do it", option)
        assert said.code == 0, said.err
        if option == "--json":
            result = said.json
        else:
            events = [json.loads(line) for line in said.out.splitlines()]
            assert [one["type"] for one in events].count("run.finished") == 3
            result = events[-1]["result"]
        assert (result["skill"], result["output"]) == ("lead", "All done.")
        (aside,) = result["attempts"][0]["asides"]
        assert (aside["model"], aside["purpose"]) == ("hand", "delegate")


@pytest.mark.long
def test_c12_sessions_show_delegated_runs_under_their_parent(place: Any, fleet: FleetProcess) -> None:
    bad = {"when": {"contains": "two"}, "error": {"status": 400, "message": "no such thing"}}
    scripted(fleet, [delegates("one", "two"), DONE], [does("one", "the first part"), bad])
    assert place.run("run", "lead", "do it").code == 0
    (listed,) = place.run("sessions", "list", "--json").json
    assert (listed["runs"], listed["skills"], listed["statuses"]) == (1, ["lead"], ["accepted"])
    shown = place.run("sessions", "show", "last").out
    assert shown.splitlines()[0].startswith("lead · chain lead · accepted")
    assert "    delegated: work · chain work · accepted: hand (local)" in shown
    assert "    delegated: work · chain work · exhausted" in shown
    assert "the first part" in shown


@pytest.mark.long
def test_c12_history_and_the_next_run_leave_delegated_runs_out(place: Any, fleet: FleetProcess) -> None:
    scripted(fleet, [delegates("one"), DONE, {"text": "more"}], [{"text": "a part"}])
    assert place.run("run", "lead", "do it").code == 0
    assert place.run("run", "lead", "go on", "--session", "last", "--history").code == 0
    body = [one["body"] for one in fleet.requests() if one["model"] == "boss"][-1]
    assert [message["content"] for message in body["messages"][1:]] == ["do it", "All done.", "go on"]


def test_c12_ctrl_c_stops_and_records_all(place: Any, fleet: FleetProcess, until: Any) -> None:
    scripted(fleet, [delegates("one", "two")], [{"text": "never", "delay_s": 60}])
    running = place.start("run", "lead", "do it")
    until(lambda: len([one for one in fleet.requests() if one["model"] == "hand"]) == 2)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    runs = place.run("sessions", "show", "--json").json["runs"]
    assert [(run["skill"], run["status"]) for run in runs] == [
        ("lead", "cancelled"),
        ("work", "cancelled"),
        ("work", "cancelled"),
    ]


def test_c12_after_a_kill_the_log_has_what_was_finished(place: Any, fleet: FleetProcess, until: Any) -> None:
    scripted(fleet, [delegates("one", "two")], [does("one", "quick"), {"text": "never", "delay_s": 60}])
    running = place.start("run", "lead", "do it", "--events")
    for line in running.stdout:
        if json.loads(line)["type"] == "run.finished":
            break
    running.kill()
    running.communicate(timeout=20)
    runs = place.run("sessions", "show", "--json").json["runs"]
    assert [(run["skill"], run["status"]) for run in runs] == [
        ("lead", "interrupted"),
        ("work", "accepted"),
        ("work", "interrupted"),
    ]
    (listed,) = place.run("sessions", "list", "--json").json
    assert listed["statuses"] == ["interrupted"]
    scripted(fleet, [DONE], [])
    assert place.run("run", "lead", "once more").code == 0  # the log is whole


def test_c12_a_delegated_skill_works_in_the_same_folder(place: Any, fleet: FleetProcess) -> None:
    place.write("work/notes.txt", "the note")
    read = {"tool_calls": [{"name": "fs_read", "arguments": {"path": "notes.txt"}}], "times": 1}
    scripted(fleet, [delegates("read notes.txt"), DONE], [read, {"text": "It says: the note."}])
    said = place.run("run", "lead", "do it", "--workdir", "work", "--permission-mode", "auto")
    assert (said.code, "  fs_read notes.txt" in said.err.splitlines()) == (0, True), said.err
    last = [one["body"] for one in fleet.requests() if one["model"] == "hand"][-1]
    assert "the note" in last["messages"][-1]["content"]
    assert Path(place.folder / "work").is_dir()


@pytest.mark.long
def test_c12_a_run_that_goes_on_counts_what_it_had_delegated(
    place: Any, fleet: FleetProcess, until: Any
) -> None:
    scripted(fleet, [delegates("one"), {"text": "never", "delay_s": 60}], [{"text": "a part"}])
    running = place.start("run", "lead", "do it")
    until(lambda: len([one for one in fleet.requests() if one["model"] == "boss"]) == 2)
    running.kill()
    running.communicate(timeout=20)
    scripted(fleet, [DONE], [])
    said = place.run("run", "--session", "last", "--continue", "--json")
    assert (said.code, said.json["output"]) == (0, "All done."), said.err
    (attempt,) = said.json["attempts"]
    assert [(aside["model"], aside["purpose"]) for aside in attempt["asides"]] == [("hand", "delegate")]
    body = [one["body"] for one in fleet.requests() if one["model"] == "boss"][-1]
    assert "a part" in body["messages"][-1]["content"]


@pytest.mark.long
def test_c12_what_was_delegated_in_a_step_that_was_cut_short_counts_once(
    place: Any, fleet: FleetProcess
) -> None:
    """The step is not on record after a kill, and with its attempt after Ctrl-C."""
    slow = does("two", "never", delay_s=60)
    for end, words in ((signal.SIGKILL, ("lead", "do it")), (signal.SIGINT, ("--continue",))):
        scripted(fleet, [delegates("one", "two")], [does("one", "a part"), slow])
        running = place.start("run", *words, "--events")
        assert any(json.loads(line)["type"] == "run.finished" for line in running.stdout)
        running.send_signal(end)
        running.communicate(timeout=20)
    scripted(fleet, [DONE], [])
    said = place.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    runs = place.run("sessions", "show", "--json").json["runs"]
    used = [run["usage"]["input_tokens"] for run in runs if run["skill"] == "work"]
    counted = [aside["usage"]["input_tokens"] for one in said.json["attempts"] for aside in one["asides"]]
    assert sum(counted) == sum(used) > 0
    assert len(used) == 4


async def test_c12_the_library_delegates_and_gives_the_result_of_the_parent(
    place: Any, fleet: FleetProcess
) -> None:
    scripted(fleet, [delegates("one"), DONE], [{"text": "a part"}])
    path = place.folder / "chains.yaml"
    async with Guild.from_config(path, env=place.env, skills=place.folder / "skills") as guild:
        async with guild.stream("lead", "do it") as events:
            kinds = [event.type async for event in events]
        assert kinds.count("run.finished") == 2
        assert events.result.output == "All done."


def test_c12_in_a_worktree_what_is_delegated_changes_that(place: Any, fleet: FleetProcess) -> None:
    skill(place.folder / "skills", "work", more="allowed-tools: Write\n")
    place.write("chains.yaml", config(fleet, agent=", workspace: worktree"))
    place.write("repo/old.txt", "old")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=place.folder / "repo", check=True, env=place.env)
    write = {
        "tool_calls": [{"name": "fs_write", "arguments": {"path": "new.txt", "content": "x"}}],
        "times": 1,
    }
    options = ("--workdir", "repo", "--permission-mode", "bypass")
    for answer, there in (("", False), ("All done.", True)):
        scripted(fleet, [delegates("write"), {"text": answer}], [write, {"text": "written"}])
        place.run("run", "lead", "do it", *options)
        assert (place.folder / "repo" / "new.txt").exists() is there
