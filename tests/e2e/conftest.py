"""The product as a user has it: processes, sockets, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from preloaded import Commands

from hyperguild.simulation.process import FleetProcess

LIMIT_S = 60.0
"""Nothing in these tests takes nearly so long: it only keeps a hang from hanging the suite."""

REPOSITORY = Path(__file__).parents[2]
FOR_PYTHON = {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error::ResourceWarning"}

GOOD = "## Findings\n\n1. Line 3 is wrong: it skips the last element.\n"
BAD = "Looks fine to me."
CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic", api_key_env: CLOUD_KEY}}
models:
  phi4: {{endpoint: swap, context_window: 16384}}
  qwen: {{endpoint: swap}}
  judge: {{endpoint: swap}}
  claude-sonnet-4-6: {{endpoint: cloud, price: {{input: 3.0, output: 15.0}}, max_output_tokens: 100}}
verifiers:
  default: {{judge: judge}}
chains:
  default: [phi4, qwen, claude-sonnet-4-6]
  local: [phi4, qwen]
  weak: [phi4]
"""
SCRIPT: dict[str, Any] = {
    "groups": {"all": {"swap": False, "members": ["phi-4-q4", "qwen", "judge"]}},
    "models": {
        "phi-4-q4": {"aliases": ["phi4"], "load_s": 0.2, "answers": [{"text": BAD}]},
        "phi4-mini": {"answers": [{"text": "mini"}]},
        "qwen": {"load_s": 0.2, "answers": [{"text": GOOD}]},
        "judge": {
            "answers": [
                {
                    "when": {"regex": "(?s)<answer .*Line 3"},
                    "judge": {"accept": True, "score": 0.9, "feedback": "names the line"},
                },
                {"judge": {"accept": False, "score": 0.2, "feedback": "misses the last element"}},
            ]
        },
    },
    "anthropic": {"models": {"claude-sonnet-4-6": {"answers": [{"text": "the cloud's answer"}]}}},
}
"""phi4 is refused, qwen is accepted, the cloud answers when asked."""


@pytest.fixture(scope="session")
def shared_fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: FleetProcess) -> FleetProcess:
    """The fleet as new: scripted as `SCRIPT`, nothing loaded, nothing seen."""
    shared_fleet.script(SCRIPT)
    shared_fleet.reset()
    return shared_fleet


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one error line; the test fails where there is none or several."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@dataclass
class Home:
    """A user's folder and environment."""

    folder: Path
    commands: Commands
    env: dict[str, str] = field(default_factory=dict)
    python_folder: Path = Path(sys.executable).parent

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hyperguild", *arguments],
            cwd=self.folder,
            env=options.pop("env", self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            text=True,
            **options,
        )

    def run(self, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Said:
        whole = {**self.env, **(env or {})}
        return Said(
            *self.commands.run(arguments, folder=self.folder, env=whole, stdin=stdin, limit_s=LIMIT_S)
        )

    def run_by_itself(self, *arguments: str, env: Mapping[str, str]) -> Said:
        """Run a command as a user's shell does: for variables that the interpreter reads at its start."""
        started = self.start(*arguments, env={**self.env, **env})
        out, err = started.communicate(timeout=LIMIT_S)
        return Said(started.returncode, out, err)


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    started = Commands({**os.environ, **FOR_PYTHON})
    yield started
    started.close()


@pytest.fixture
def home(tmp_path: Path, fleet: FleetProcess, commands: Commands) -> Home:
    """A folder with chains.yaml and a skill, and an environment with a key for the cloud."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "CLOUD_KEY": "made-up-cloud-key-0123456789",
        "HYPERGUILD_SKILLS": str(REPOSITORY / "skills"),
        **FOR_PYTHON,
        **{key: value for key, value in os.environ.items() if key.startswith(("COVERAGE_", "PYTHONPYCACHE"))},
    }
    (tmp_path / "home").mkdir()
    made = Home(tmp_path / "project", commands, env)
    made.write("chains.yaml", CHAINS.format(url=fleet.url))
    made.write("some.py", "def last(xs):\n    for x in xs[:-1]:\n        print(x)\n")
    env["HYPERGUILD_CONFIG"] = str(made.folder / "chains.yaml")
    return made


@pytest.fixture
def script() -> dict[str, Any]:
    """The fleet's script, to be changed by a test."""
    return SCRIPT


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Ask again and again until the answer is true; fail when it never is."""

    def wait(question: Callable[[], Any]) -> Any:
        give_up_at = time.monotonic() + LIMIT_S
        while time.monotonic() < give_up_at:
            answer = question()
            if answer:
                return answer
            time.sleep(0.05)
        raise AssertionError("it never came true")

    return wait
