"""Models held loaded between commands, as a user has it: the command line, real models, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from keeping import LIMIT_S, is_running, keeper_home, keepers_of, kill_keeper, until
from preloaded import Commands
from real.make_gguf import CONTEXT, make_gguf
from real.processes import servers_of

from hyperguild.adapters.embedded.location import KeeperFolder, keeper_folder
from hyperguild.adapters.embedded.process import is_installed
from hyperguild.tiny_fleet import tiny_fleet_dir

pytestmark = [
    pytest.mark.long,  # tests/unit/embedded tries the same with a keeper in reach
    pytest.mark.skipif(not is_installed(), reason="needs real inference: pip install xllamacpp gguf"),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc"),
]

CHAINS = """\
version: 1
endpoints:
  here:  {{kind: embedded, keep: true, max_loaded: 2, ttl_s: {ttl_s}, probe_timeout_ms: 5000}}
  alone: {{kind: embedded}}
models:
  apprentice: {{endpoint: here, gguf: "{fleet}/apprentice.gguf", context_window: 2048, max_output_tokens: 24}}
  judge:      {{endpoint: here, gguf: "{fleet}/judge.gguf", context_window: 2048}}
  endless:    {{endpoint: here, gguf: "{endless}", context_window: {window}}}
  unkept:     {{endpoint: alone, gguf: "{fleet}/apprentice.gguf"}}
verifiers:
  default: {{judge: judge}}
chains:
  default: [apprentice]
  endless: {{tiers: [{{model: endless, verify: false}}]}}
"""
PLACES = ("--config", "chains.yaml", "--skills", str(tiny_fleet_dir() / "skills"), "--db", "log.db")
TASK, ANSWER = "3. März 2024", "2024-03-03"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that talks without an end."""
    pytest.importorskip("gguf")
    return make_gguf(tmp_path_factory.mktemp("random-model") / "endless.gguf")


@dataclass
class User:
    """Somebody with a keeper, whose folder nobody else has."""

    folder: Path
    keeper: KeeperFolder
    env: dict[str, str]
    endless: Path
    commands: Commands
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def configure(self, *, ttl_s: float = 300) -> None:
        text = CHAINS.format(ttl_s=ttl_s, fleet=tiny_fleet_dir(), endless=self.endless, window=CONTEXT)
        (self.folder / "chains.yaml").write_text(text, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hyperguild", *PLACES, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def hyperguild(self, *arguments: str) -> str:
        """Run a command that must succeed and say nothing wrong; return what it says on stdout."""
        code, out, err = self.commands.run(
            (*PLACES, *arguments), folder=self.folder, env=self.env, stdin=None, limit_s=LIMIT_S
        )
        assert code == 0, err
        assert "Traceback" not in err
        assert "ResourceWarning" not in err
        return out

    def run_date(self) -> list[str]:
        """Run the task; return the warm states of its model and of its judge, as the events told them."""
        lines = self.hyperguild("run", "iso-date", TASK, "--events").splitlines()
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        assert events[-1]["result"]["output"] == ANSWER
        return [attempt["warm_state"] for attempt in events[-1]["result"]["attempts"]]

    def states(self) -> dict[str, str]:
        return {row["model"]: row["state"] for row in json.loads(self.hyperguild("models", "--json"))}

    def keeper_pid(self) -> int:
        pid = self.keeper.keeper_pid()
        assert pid is not None
        return pid

    def start_endless(self) -> subprocess.Popen[str]:
        """Start a run and wait for the first piece of its answer."""
        process = self.start("run", "iso-date", TASK, "--chain", "endless", "--events")
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "text.delta":
                return process
        raise AssertionError("the model said nothing")


@pytest.fixture
def user(tmp_path: Path, endless: Path, commands: Commands) -> Iterator[User]:
    with keeper_home() as (keeper, runtime):
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE_"))}
        env = {**kept, **runtime, "HOME": str(tmp_path), "PYTHONUTF8": "1"}
        env["PYTHONWARNINGS"] = "error::ResourceWarning"
        made = User(tmp_path, keeper, env, endless, commands)
        made.configure()
        yield made
        for process in made.started:
            process.kill()
            process.communicate(timeout=LIMIT_S)


def test_the_second_command_finds_the_models_loaded(user: User) -> None:
    assert user.run_date() == ["cold"]
    pid = user.keeper_pid()
    servers = servers_of(pid)
    assert len(servers) == 2
    assert user.run_date() == ["ready"]
    assert (user.keeper_pid(), servers_of(pid)) == (pid, servers)


def test_models_shows_what_is_held_and_loads_nothing(user: User) -> None:
    assert user.states() == {"apprentice": "cold", "judge": "cold", "endless": "cold", "unkept": "cold"}
    assert "keeper" not in user.hyperguild("models")
    assert keepers_of(user.keeper) == []
    user.run_date()
    assert user.states() == {"apprentice": "ready", "judge": "ready", "endless": "cold", "unkept": "cold"}
    page = user.hyperguild("models")
    assert f"keeper: process {user.keeper_pid()}, holds apprentice.gguf (idle " in page
    assert "judge.gguf (idle " in page
    preview = json.loads(user.hyperguild("run", "iso-date", TASK, "--dry-run", "--json"))
    assert preview["tiers"][0]["warm_state"] == "ready"
    busy = user.start_endless()
    assert "endless.gguf (in use)" in user.hyperguild("models")
    busy.kill()


@pytest.mark.long
def test_models_stop_ends_it(user: User) -> None:
    assert user.hyperguild("models", "stop") == "no keeper is running\n"
    assert user.hyperguild("models", "stop", "--json") == "[]\n"
    user.run_date()
    pid = user.keeper_pid()
    said = user.hyperguild("models", "stop")
    assert said == f"stopped the keeper, process {pid}; unloaded apprentice.gguf, judge.gguf\n"
    assert keepers_of(user.keeper) == servers_of(pid) == []
    assert user.run_date() == ["cold"]
    stopped = json.loads(user.hyperguild("models", "stop", "--json"))
    assert [Path(model["file"]).name for model in stopped] == ["apprentice.gguf", "judge.gguf"]
    assert {(model["endpoint"], model["state"], model["ttl_s"]) for model in stopped} == {
        ("here", "ready", 300.0)
    }


@pytest.mark.long
def test_after_the_ttl_models_and_keeper_are_gone(user: User) -> None:
    user.configure(ttl_s=1)
    user.run_date()
    until(lambda: not keepers_of(user.keeper))
    assert user.states()["apprentice"] == "cold"


@pytest.mark.long
def test_a_command_that_is_killed_lets_go(user: User) -> None:
    process = user.start_endless()
    assert "(in use)" in user.hyperguild("models")
    pid = user.keeper_pid()
    process.kill()
    until(lambda: "endless.gguf (idle " in user.hyperguild("models"))
    assert user.keeper_pid() == pid
    assert user.states()["endless"] == "ready"


@pytest.mark.long
def test_an_interrupted_command_leaves_the_keeper_alone(user: User) -> None:
    process = user.start_endless()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert user.states()["endless"] == "ready"


def test_when_the_keeper_is_killed_no_server_is_left_and_the_next_command_works(user: User) -> None:
    user.run_date()
    servers = servers_of(user.keeper_pid())
    kill_keeper(user.keeper)
    until(lambda: not any(is_running(server) for server in servers))
    assert user.states()["apprentice"] == "cold"
    assert user.run_date() == ["cold"]


@pytest.mark.long
@pytest.mark.long
def test_commands_that_start_at_once_share_a_keeper(user: User) -> None:
    together = [user.start("run", "iso-date", TASK) for _ in range(3)]
    said = [process.communicate(timeout=LIMIT_S) for process in together]
    assert [out for out, _ in said] == [f"{ANSWER}\n"] * 3, said
    assert keepers_of(user.keeper) == [user.keeper_pid()]
    assert len(servers_of(user.keeper_pid())) == 2


@pytest.mark.long
@pytest.mark.long
def test_where_paths_are_long_the_keeper_is_elsewhere(user: User) -> None:
    del user.env["XDG_RUNTIME_DIR"]
    user.env |= {"XDG_STATE_HOME": str(user.folder / ("x" * 100)), "TMPDIR": str(user.keeper.path.parent)}
    elsewhere = keeper_folder(user.env)
    assert elsewhere.path.parent == user.keeper.path.parent
    try:
        assert user.run_date() == ["cold"]
        assert user.run_date() == ["ready"]
        assert keepers_of(elsewhere) == [elsewhere.keeper_pid()]
        assert "unloaded" in user.hyperguild("models", "stop")
    finally:
        kill_keeper(elsewhere)


@pytest.mark.long
def test_a_folder_that_others_may_enter_fails_the_attempt_alone(user: User) -> None:
    user.keeper.path.mkdir(mode=0o755)
    user.keeper.path.chmod(0o755)
    process = user.start("run", "iso-date", TASK, "--json")
    out, _ = process.communicate(timeout=LIMIT_S)
    error = json.loads(out)["attempts"][0]["error"]
    assert (process.returncode, error["kind"], error["retryable"]) == (1, "connect", False)
    assert "can be entered by other users" in error["message"]
    page = user.hyperguild("models")
    assert f"can be entered by other users (chmod 700 {user.keeper.path})" in page
    assert user.states()["apprentice"] == "unknown"


@pytest.mark.long
def test_models_takes_no_options_for_its_commands(user: User) -> None:
    process = user.start("models", "--json", "stop")
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert err.startswith("error: options of `stop` stand behind it")
    process = user.start("models", "stp")
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "stop" in user.hyperguild("models", "--help")
    assert "hyperguild models stop" in user.hyperguild("models", "stop", "--help")
