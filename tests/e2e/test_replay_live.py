"""`replay --live`: what the record misses is asked for, recorded, and asked for once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.main import run_command_line
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  small: {{endpoint: swap}}
  large: {{endpoint: swap}}
  judge: {{endpoint: swap}}
  other: {{endpoint: swap}}
  dear: {{endpoint: cloud, price: {{input: 3000.0, output: 15000.0}}, max_output_tokens: 1000}}
verifiers:
  default: {{judge: judge}}
  strict: {{judge: other}}
chains:
  small: [small]
  both: [small, large]
  strict: {{verifier: strict, tiers: [small, large]}}
  dear: [small, dear]
"""
MEMBERS = ("small", "large", "judge", "other")


def verdict(accept: bool, score: float) -> dict[str, Any]:
    return {"judge": {"accept": accept, "score": score, "feedback": "so it is"}}


SCRIPT: dict[str, Any] = {
    "groups": {"all": {"swap": False, "members": list(MEMBERS)}},
    "models": {
        "small": {"answers": [{"text": "a small answer"}]},
        "large": {"answers": [{"text": "a large answer"}]},
        "judge": {
            "answers": [{"when": {"regex": "a large answer"}, **verdict(True, 0.9)}, verdict(False, 0.2)]
        },
        "other": {"answers": [verdict(True, 0.8)]},
    },
    "anthropic": {"models": {"dear": {"answers": [{"text": "a dear answer"}]}}},
}

Replay = Callable[..., dict[str, Any]]


@pytest.fixture
def fleet(shared_fleet: FleetProcess) -> FleetProcess:
    shared_fleet.script(SCRIPT)
    shared_fleet.reset()
    return shared_fleet


@pytest.fixture
def command(fleet: FleetProcess, tmp_path: Path) -> list[str]:
    (tmp_path / "chains.yaml").write_text(CHAINS.format(url=fleet.url))
    skill = tmp_path / "skills" / "explain"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: explain\ndescription: Explains.\n---\nBe brief.\n")
    return ["--config", str(tmp_path / "chains.yaml"), "--db", str(tmp_path / "log.db")]


@pytest.fixture
def replay(command: list[str], capsys: pytest.CaptureFixture[str]) -> Replay:
    assert run_command_line([*command, "run", "explain", "the task", "--chain", "small"]) == 1

    def work(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run_command_line([*command, "replay", *arguments, "--json"]) == 0
        said = capsys.readouterr()
        (found,) = json.loads(said.out)["chains"]
        return {**found, "said": said.err}

    return work


def asked(fleet: FleetProcess) -> list[str]:
    return [str(one["model"]) for one in fleet.requests() if one["model"]]


def test_missing_answers_are_asked_for_once(fleet: FleetProcess, replay: Replay) -> None:
    before = replay("--chain", "both")
    assert [(one["kind"], one["model"], one["tasks"]) for one in before["missing"]] == [
        ("answer", "large", 1)
    ]
    assert before["known"] == 0
    fleet.reset()
    after = replay("--chain", "both", "--live", "--max-cost", "0")
    assert "asking large for 1 answers; with the tiers after them at most $0" in after["said"]
    assert (after["known"], after["missing"], after["ends"]) == (1, [], {"accepted": 1.0})
    assert set(asked(fleet)) == {"large", "judge"}
    fleet.reset()
    again = replay("--chain", "both", "--live", "--max-cost", "0")
    assert again["known"] == 1
    assert asked(fleet) == []


def test_a_recorded_answer_is_judged_without_being_asked_for_again(
    fleet: FleetProcess, replay: Replay
) -> None:
    (before,) = replay("--chain", "strict")["missing"]
    assert (before["kind"], before["model"]) == ("judgement", "small")
    fleet.reset()
    after = replay("--chain", "strict", "--live", "--max-cost", "0")
    assert (after["known"], after["ends"]) == (1, {"accepted": 1.0})
    assert set(asked(fleet)) == {"other"}
    # The answer stands once, with the time that it took itself.
    assert (after["tasks"], after["duration_ms"]["value"] > 0) == (1, True)


def test_the_budget_holds(fleet: FleetProcess, replay: Replay) -> None:
    fleet.reset()
    found = replay("--chain", "dear", "--live", "--max-cost", "0.01")
    assert found["known"] == 0
    assert asked(fleet) == []
    assert "no more than $0.01" in found["said"]


def test_a_budget_must_be_given(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([*command, "replay", "--live"]) == 2
    assert "--live needs --max-cost" in capsys.readouterr().err
