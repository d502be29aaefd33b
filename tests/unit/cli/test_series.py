"""Several runs over one guild and one log: what becomes of one does not touch the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.execution import Output, Series, execute, execute_series
from hyperguild.cli.options import Settings
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.records import ChainExhaustedError
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

SCRIPT: dict[str, Any] = {
    "models": {
        "phi4": {
            "answers": [
                {"when": {"contains": "hard"}, "error": {"status": 400, "message": "too hard"}},
                {"when": {"contains": "odd"}, "error": {"status": 400, "message": "too odd"}},
                {"text": "done"},
            ]
        }
    }
}
CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}"}}
chains:
  default: {{tiers: [{{model: phi4, verify: false}}]}}
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


@pytest.fixture
def configuration(fleet: FleetProcess) -> Configuration:
    return load_config_text(CHAINS.format(url=fleet.url), Path("chains.yaml"), {})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(env={"HOME": str(tmp_path)}, db=tmp_path / "sessions.db")


def requests(configuration: Configuration, *tasks: str) -> tuple[RunRequest, ...]:
    chain = configuration.chain_for("explain", None)
    return tuple(RunRequest("explain", "Explain.", Task(task), chain) for task in tasks)


def test_a_failure_does_not_end_the_series_and_the_first_one_is_kept(
    settings: Settings, configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    announced: list[str] = []
    series = Series(
        requests(configuration, "easy", "hard", "odd", "easy again"),
        announce=lambda request: announced.append(request.task.text),
    )
    outcome = execute_series(settings, configuration, series, Output())
    assert announced == ["easy", "hard", "odd", "easy again"]
    statuses = [result.status for result in outcome.results]
    assert statuses == ["accepted", "exhausted", "exhausted", "accepted"]
    assert isinstance(outcome.failure, ChainExhaustedError)
    assert outcome.failure.result == outcome.results[1]
    assert len({result.session_id for result in outcome.results}) == 1
    assert capsys.readouterr().out == "done\ndone\n"


def test_json_is_an_array_of_several_results_and_the_object_of_one(
    settings: Settings, configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    series = Series(requests(configuration, "easy", "hard"))
    execute_series(settings, configuration, series, Output(as_json=True))
    assert [one["status"] for one in json.loads(capsys.readouterr().out)] == ["accepted", "exhausted"]
    [request] = requests(configuration, "hard")
    with pytest.raises(ChainExhaustedError):
        execute(settings, configuration, request, Output(as_json=True))
    assert json.loads(capsys.readouterr().out)["status"] == "exhausted"


def test_a_named_session_takes_them_all(
    settings: Settings, configuration: Configuration, fleet: FleetProcess
) -> None:
    first = execute_series(settings, configuration, Series(requests(configuration, "easy")), Output())
    fleet.reset()
    series = Series(requests(configuration, "more", "and more"), session_ref="last", history=True)
    later = execute_series(settings, configuration, series, Output())
    assert {result.session_id for result in later.results} == {first.results[0].session_id}
    asked = [one["body"]["messages"] for one in fleet.requests() if one["path"].endswith("/chat/completions")]
    assert [len(messages) for messages in asked] == [4, 6]
