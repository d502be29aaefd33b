"""`workspace: worktree` on the command line: each attempt works on its own, one is applied."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperguild import Guild, UsageError
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.orchestration.resume import FILES_AS_THEY_ARE
from hyperguild.simulation.process import FleetProcess

SKILL = """\
---
name: mend
description: Mends a program.
allowed-tools: Read Write Bash
---
Mend it.
"""
START = "start\n"
KEPT = "refs/hyperguild/attempts/"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"times": 1, "tool_calls": [{"name": name, "arguments": arguments}]}


PHI4 = [
    call("fs_write", path="stats.txt", content="phi4's\n"),
    call("fs_write", path="more.txt", content="phi4's\n"),
    {"text": "I changed something."},
]
QWEN = [
    call("shell", command="cat stats.txt; ls; git status --porcelain; echo $((40 + 2)) > stats.txt"),
    {"text": "Line 3 is mended."},
]
"""The judge accepts what names line 3."""


class Project:
    """The user's repository, the fleet's script, and the command."""

    def __init__(self, home: Any, fleet: FleetProcess, script: dict[str, Any]) -> None:
        self.home, self.fleet, self._script = home, fleet, script
        self.folder: Path = home.folder / "project"
        self.state = Path(home.env["XDG_STATE_HOME"]) / "hyperguild" / "worktrees"
        home.write("skills/mend/SKILL.md", SKILL)
        chains = (home.folder / "chains.yaml").read_text(encoding="utf-8").replace("16384", "32768")
        agent = "{workspace: worktree, permission_mode: bypass, two_stage: never}"
        chains += f"  own: {{tiers: [phi4, qwen], agent: {agent}}}\n"
        chains += f"  best: {{tiers: [phi4], agent: {agent}, on_exhausted: best}}\n"
        home.write("chains.yaml", chains)
        home.write("project/stats.txt", START)
        for words in ("init -q", "add -A", "-c user.name=U -c user.email=u@example.com commit -qm first"):
            self.git(*words.split())

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def answers(self, phi4: list[dict[str, Any]], qwen: list[dict[str, Any]]) -> None:
        models = {**self._script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": phi4}}
        self.fleet.script({**self._script, "models": {**models, "qwen": {"answers": qwen}}})
        self.fleet.reset()

    def command(self, chain: str = "own") -> tuple[str, ...]:
        return ("run", "mend", "mend it", "--workdir", "project", "--chain", chain)

    def kept(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", KEPT).split()

    def places(self) -> list[Path]:
        return list(self.state.iterdir()) if self.state.is_dir() else []

    def worktree(self) -> Path | None:
        """The worktree that an attempt works in now."""
        return next(iter(self.state.glob("*/tree/project")), None)


@pytest.fixture
def project(home: Any, fleet: FleetProcess, script: dict[str, Any]) -> Project:
    return Project(home, fleet, script)


def test_each_tier_starts_clean_and_only_the_accepted_ones_changes_are_applied(project: Project) -> None:
    project.answers(PHI4, QWEN)
    said = project.home.run(*project.command(), "--json")
    assert said.code == 0, said.err
    assert [one["verdict"] for one in said.json["attempts"]] == ["escalate", "accept"]
    bodies = [one["body"] for one in project.fleet.requests() if one["model"] == "qwen"]
    (told,) = [message["content"] for message in bodies[-1]["messages"] if message["role"] == "tool"]
    assert told.split() == ["exit", "code", "0", "start", "stats.txt"]
    assert (project.folder / "stats.txt").read_text() == "42\n"
    assert project.git("status", "--porcelain") == " M stats.txt\n"
    (ref,) = project.kept()
    assert f"what phi4 changed was not applied, but is kept: `git -C {project.folder} show {ref}`" in said.err
    assert project.git("diff", "--name-only", "HEAD", ref).split() == ["more.txt", "stats.txt"]
    assert said.json["session_id"] in project.git("log", "-1", "--format=%B", ref)
    assert project.places() == []


def test_the_best_of_refused_answers_leaves_its_changes_under_a_ref(project: Project) -> None:
    project.answers(PHI4, QWEN)
    said = project.home.run(*project.command("best"), "--json")
    assert (said.code, said.json["status"]) == (0, "best_effort")
    (ref,) = project.kept()
    assert f"show {ref}`" in said.err
    assert project.git("status", "--porcelain") == ""


def test_changes_that_do_not_fit_any_more_are_kept_and_the_warning_says_how_to_apply_them(
    project: Project, until: Any
) -> None:
    waits = "echo mine > stats.txt; touch started; until [ -e go ]; do sleep 0.05; done; rm started go"
    project.answers([call("shell", command=waits), QWEN[-1]], QWEN)
    running = project.home.start(*project.command())
    tree: Path = until(lambda: (at := project.worktree()) and (at / "started").exists() and at)
    (project.folder / "stats.txt").write_text("the user's\n")
    (tree / "go").touch()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert (project.folder / "stats.txt").read_text() == "the user's\n"
    (ref,) = project.kept()
    assert f"`git -C {project.folder} cherry-pick --no-commit {ref}`" in err


WAIT = call("shell", command="touch started; sleep 300")
WAITING = [call("shell", command="echo half > stats.txt; touch started; sleep 300")]


def test_ctrl_c_leaves_the_work_directory_untouched_and_no_worktree(project: Project, until: Any) -> None:
    project.answers(WAITING, QWEN)
    running = project.home.start(*project.command())
    until(lambda: (tree := project.worktree()) and (tree / "started").exists())
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert project.git("status", "--porcelain") == ""
    assert project.places() == []
    (ref,) = project.kept()
    assert ref in err
    assert project.git("show", f"{ref}:stats.txt") == "half\n"


@pytest.mark.long
def test_what_a_killed_run_left_is_put_aside_by_the_next(project: Project, until: Any) -> None:
    project.answers(WAITING, QWEN)
    running = project.home.start(*project.command())
    until(lambda: (tree := project.worktree()) and (tree / "started").exists())
    running.kill()
    running.communicate(timeout=30)
    assert len(project.places()) == 1
    project.answers(QWEN, QWEN)
    said = project.home.run(*project.command(), "--json")
    assert said.code == 0, said.err
    (ref,) = project.kept()
    assert ref in said.err
    assert project.git("show", f"{ref}:stats.txt") == "half\n"
    assert (project.folder / "stats.txt").read_text() == "42\n"
    assert project.places() == []


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_h2_a_run_that_goes_on_has_what_it_had_changed(
    project: Project, until: Any, end: signal.Signals
) -> None:
    """After a kill as after Ctrl-C: the steps on record and the files belong together."""
    project.answers([call("fs_write", path="stats.txt", content="half\n"), WAIT], QWEN)
    running = project.home.start(*project.command())
    until(lambda: (tree := project.worktree()) and (tree / "started").exists())
    running.send_signal(end)
    running.communicate(timeout=30)
    assert project.git("status", "--porcelain") == ""
    project.answers([call("shell", command="rm started; echo and whole >> stats.txt"), QWEN[-1]], QWEN)
    said = project.home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    assert said.json["attempts"][-1]["model"] == "phi4"
    assert (project.folder / "stats.txt").read_text() == "half\nand whole\n"
    assert project.git("status", "--porcelain") == " M stats.txt\n"
    assert (project.kept(), project.places()) == ([], [])
    bodies = [one["body"] for one in project.fleet.requests() if one["body"]]
    sent = [body["messages"] for body in bodies if body["model"] == "phi4"]
    assert not [one for one in sent[0] if one["content"] == FILES_AS_THEY_ARE]
    judged = next(body["messages"][-1]["content"] for body in bodies if "<changes" in str(body))
    assert "fs_write" in judged or "stats.txt" in judged.partition("<changes")[2].partition("rm started")[0]


@pytest.mark.long
def test_h2_what_another_run_of_the_session_had_changed_is_not_brought_back(
    project: Project, until: Any
) -> None:
    sleep = call("shell", command="sleep 300")
    write, read = call("fs_write", path="stats.txt", content="half\n"), call("fs_read", path="stats.txt")
    for first, options in (([write, sleep], ()), ([read, sleep], ("--session", "last"))):
        project.answers(first, QWEN)
        running = project.home.start(*project.command(), *options)
        until(lambda: len([one for one in project.fleet.requests() if one["model"] == "phi-4-q4"]) == 2)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    kept = project.kept()
    project.answers([call("shell", command="echo more >> stats.txt"), QWEN[-1]], QWEN)
    said = project.home.run("run", "--continue", "--json")
    assert said.code == 0, said.err
    assert (project.folder / "stats.txt").read_text() == START + "more\n"
    assert kept[0] in project.kept()


@pytest.mark.long
def test_h2_a_model_whose_changes_cannot_be_brought_back_is_told_so(project: Project, until: Any) -> None:
    project.answers([call("fs_write", path="stats.txt", content="half\n"), WAIT], QWEN)
    running = project.home.start(*project.command())
    until(lambda: (tree := project.worktree()) and (tree / "started").exists())
    running.kill()
    running.communicate(timeout=30)
    (project.folder / "stats.txt").write_text("the user's\n")
    project.answers([call("shell", command="cat stats.txt"), QWEN[-1]], QWEN)
    said = project.home.run("run", "--continue", "--json")
    assert (said.code, "cannot be brought back" in said.err) == (0, True), said.err
    bodies = [one["body"] for one in project.fleet.requests() if one["body"]]
    sent = next(body["messages"] for body in bodies if body["model"] == "phi4")
    assert sent[-1] == {"role": "user", "content": FILES_AS_THEY_ARE}
    assert (project.folder / "stats.txt").read_text() == "the user's\n"
    kept = [
        step["messages"]
        for run in project.home.run("sessions", "show", "last", "--json").json["runs"]
        for step in run["steps"]
        if step["kind"] == "injected"
    ]
    assert [one[-1]["content"] for one in kept] == [FILES_AS_THEY_ARE]


async def test_h2_what_was_accepted_as_a_run_was_left_is_applied_when_it_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt is on record, its changes are not applied: Ctrl-C came in between."""
    recorded = SqliteSessionStore.record_attempt

    async def cut_short(self: SqliteSessionStore, *given: Any) -> None:
        this = asyncio.current_task()
        assert this is not None
        this.cancel()
        await recorded(self, *given)

    project.answers([call("fs_write", path="stats.txt", content="whole\n"), QWEN[-1]], QWEN)
    home = project.home
    async with Guild.from_config(home.folder / "chains.yaml", env=home.env) as guild:
        with monkeypatch.context() as patched:
            patched.setattr(SqliteSessionStore, "record_attempt", cut_short)
            with pytest.raises(UsageError):
                await guild.run("mend", "mend it", chain="own", workdir=project.folder)
        (left,) = await guild.session_runs("last")
        assert (left.result.status, left.result.attempts[-1].verdict) == ("cancelled", "accept")
        assert (project.folder / "stats.txt").read_text() == START
        assert (await guild.resume()).status == "accepted"
    assert (project.folder / "stats.txt").read_text() == "whole\n"
    assert (project.kept(), project.places()) == ([], [])


def test_outside_a_repository_the_run_is_refused_with_a_remedy(project: Project) -> None:
    project.answers(QWEN, QWEN)
    (project.home.folder / "plain").mkdir()
    said = project.home.run("run", "mend", "x", "--workdir", "plain", "--chain", "own")
    assert said.code == 2
    assert "`workspace: worktree` needs a git repository" in said.error
    assert "git init" in said.err
    (run,) = project.home.run("sessions", "show", "last", "--json").json["runs"]
    assert run["status"] == "interrupted"


def test_checks_and_hooks_see_where_the_attempt_worked(project: Project) -> None:
    home = project.home
    check = ["sh", "-c", "grep -q 42 $HYPERGUILD_WORKDIR/stats.txt || { echo not 42; exit 1; }"]
    hook = ["sh", "-c", "cat >/dev/null; cat $HYPERGUILD_WORKDIR/stats.txt >> hooked"]
    path = home.folder / "chains.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["verifiers"]["tried"] = {"checks": [{"kind": "command", "argv": check}]}
    document["chains"]["checked"] = {**document["chains"]["own"], "verifier": "tried"}
    document["hooks"] = {"stop": [hook]}
    home.write("chains.yaml", yaml.safe_dump(document))
    project.answers(PHI4, QWEN)
    said = home.run(*project.command("checked"), "--json")
    assert said.code == 0, said.err
    first, second = json.loads(said.out)["attempts"]
    assert (first["cause"], "not 42" in first["feedback"]) == ("check_failed", True)
    assert second["verdict"] == "accept"
    assert (project.folder / "stats.txt").read_text() == "42\n"
    assert (home.folder / "hooked").read_text() == "phi4's\n42\n"
