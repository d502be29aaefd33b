"""Model servers end with who started them, however that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from real.fleet import MODELS, SKILLS, open_engine_bench
from real.make_gguf import CONTEXT, make_gguf
from real.processes import marked, servers_of
from variants import mostly_long

from hyperguild.adapters.embedded.engine import Change
from hyperguild.adapters.embedded.process import is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="needs real inference: pip install xllamacpp gguf")

HANG_LIMIT_S = 60.0
"""Nothing here takes nearly so long: it only keeps a hang from hanging the suite."""

ENDS_WITHIN_S = 5.0
"""So soon after its parent a model server is gone, however the parent ended."""

LIBRARY_USER = """\
import asyncio, sys
from pathlib import Path
from hyperguild.adapters.embedded.engine import Engine
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import EngineSettings


async def main():
    engine = Engine(EngineSettings(max_loaded=2))
    async with engine.lease(ServerSpec(Path(sys.argv[1]), 512)):
        async with engine.lease(ServerSpec(Path(sys.argv[1]), 1024)):
            print("ready", flush=True)
            await asyncio.sleep(3600)


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that talks without an end."""
    pytest.importorskip("gguf")
    return make_gguf(tmp_path_factory.mktemp("random-model") / "random.gguf")


@dataclass
class User:
    """Somebody who starts programs; `mark` is in the environment of all that they start, and passed on."""

    folder: Path
    mark: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PATH", "PYTHONPATH", "COVERAGE_"))
        }
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder), "XDG_LIFETIME_TEST": self.mark, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def hyperguild(self, *arguments: str) -> subprocess.Popen[str]:
        places = ["--config", "chains.yaml", "--skills", str(SKILLS), "--db", "sessions.db"]
        return self.start("-m", "hyperguild", *places, *arguments)

    def servers(self) -> list[int]:
        return marked(self.mark, servers_only=True)

    def assert_nothing_is_left(self) -> None:
        """Wait for the end of everything that was started, but not for long."""
        ends_at = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < ends_at:
            if not marked(self.mark):
                return
            time.sleep(0.02)
        assert marked(self.mark) == []


@pytest.fixture
def user(tmp_path: Path, random_gguf: Path) -> Iterator[User]:
    """A user with a model that never stops, and with one that answers."""
    (tmp_path / "chains.yaml").write_text(
        f"""\
version: 1
endpoints:
  here: {{kind: embedded}}
models:
  endless: {{endpoint: here, gguf: "{random_gguf}", context_window: {CONTEXT}}}
  apprentice: {{endpoint: here, gguf: "{MODELS}/apprentice.gguf", max_output_tokens: 24}}
chains:
  default: {{tiers: [{{model: endless, verify: false}}]}}
  answer: {{tiers: [{{model: apprentice, verify: false}}]}}
""",
        encoding="utf-8",
    )
    made = User(tmp_path, f"mark-{os.urandom(8).hex()}")
    yield made
    for process in made.started:
        process.kill()
        process.communicate(timeout=HANG_LIMIT_S)
    for pid in marked(made.mark):  # only where a test has failed
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Ask again and again until the answer is true; fail when it never is."""

    def wait(question: Callable[[], Any]) -> Any:
        give_up_at = time.monotonic() + HANG_LIMIT_S
        while time.monotonic() < give_up_at:
            if answer := question():
                return answer
            time.sleep(0.002)
        raise AssertionError("it never came true")

    return wait


def wait_for_text(process: subprocess.Popen[str]) -> None:
    """Read the events of a run up to the first piece of its answer."""
    assert process.stdout is not None
    assert any(json.loads(line)["type"] == "text.delta" for line in process.stdout)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(HANG_LIMIT_S)


def test_killed_in_the_middle_of_an_answer(user: User) -> None:
    process = user.hyperguild("run", "iso-date", "never stop", "--events")
    wait_for_text(process)
    (server,) = user.servers()
    assert servers_of(process.pid) == [server]
    kill(process)
    user.assert_nothing_is_left()


@pytest.mark.parametrize("later_s", mostly_long(0.1, long=(0.0,)))
def test_killed_while_the_model_loads(user: User, until: Any, later_s: float) -> None:
    process = user.hyperguild("run", "iso-date", "never stop")
    until(user.servers)
    time.sleep(later_s)  # while Python starts, or llama.cpp
    kill(process)
    user.assert_nothing_is_left()


def test_a_program_that_uses_the_library_is_killed(user: User, random_gguf: Path) -> None:
    process = user.start("-c", LIBRARY_USER, str(random_gguf))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(user.servers()) == 2
    kill(process)
    user.assert_nothing_is_left()


def test_who_ends_normally_leaves_nothing(user: User) -> None:
    process = user.hyperguild("run", "iso-date", "3. März 2024", "--chain", "answer")
    out, err = process.communicate(timeout=HANG_LIMIT_S)
    assert (process.returncode, out) == (0, "2024-03-03\n"), err
    assert marked(user.mark) == []


@pytest.mark.parametrize("number", mostly_long(signal.SIGINT, long=(signal.SIGTERM,)))
def test_who_is_interrupted_leaves_nothing_but_a_record(user: User, number: signal.Signals) -> None:
    process = user.hyperguild("run", "iso-date", "never stop", "--events")
    wait_for_text(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=HANG_LIMIT_S)
    assert process.returncode == 130, err
    assert marked(user.mark) == []
    assert json.loads(out.splitlines()[-1])["result"]["status"] == "cancelled"
    shown = user.hyperguild("sessions", "show", "last", "--json")
    (run,) = json.loads(shown.communicate(timeout=HANG_LIMIT_S)[0])["runs"]
    (attempt,) = run["attempts"]
    assert run["status"] == "cancelled"
    assert (attempt["model"], attempt["verdict"], attempt["cause"]) == ("endless", "error", "cancelled")
    assert attempt["answer"]


async def test_what_is_idle_is_unloaded_and_loaded_again_when_asked_for(tmp_path: Path) -> None:
    chains = f"""\
version: 1
endpoints:
  here: {{kind: embedded, ttl_s: 1}}
models:
  apprentice: {{endpoint: here, gguf: "{MODELS}/apprentice.gguf", max_output_tokens: 24}}
chains:
  default: {{tiers: [{{model: apprentice, verify: false}}]}}
"""
    changes: list[Change] = []
    idle = asyncio.Event()

    def observe(change: Change) -> None:
        changes.append(change)
        if change.reason == "idle" and not change.leaving:
            idle.set()

    async with open_engine_bench(tmp_path, chains, observe=observe) as bench, asyncio.timeout(HANG_LIMIT_S):
        first = await bench.run("3. März 2024")
        again = await bench.run("3. März 2024")
        (warm,) = servers_of(os.getpid())
        await idle.wait()
        assert servers_of(os.getpid()) == []
        anew = await bench.run("3. März 2024")
        assert servers_of(os.getpid()) not in ([], [warm])
    attempts = [result.attempts[0] for result in (first, again, anew)]
    assert [attempt.warm_state for attempt in attempts] == ["cold", "ready", "cold"]
    assert [attempt.load_ms is None for attempt in attempts] == [False, True, False]
    assert {attempt.answer for attempt in attempts} == {"2024-03-03"}
    loaded, unloaded = ("starting", "asked"), ("cold", "idle")
    assert [(change.state, change.reason) for change in changes if not change.leaving] == [
        loaded,
        ("ready", "asked"),
        unloaded,
        loaded,
        ("ready", "asked"),
        ("cold", "closed"),
    ]
