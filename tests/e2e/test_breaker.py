"""What failed too often is not asked for a while: by the next run, by the next process, until it is well."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from walking import Events, walked

from hyperguild.domain.events import Probed
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{down}"}}
  up: {{kind: openai, base_url: "{url}/openai/v1"}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  first: {{endpoint: {endpoint}, upstream: m}}
  last: {{endpoint: cloud}}
verifiers:
  default: {{checks: [{{kind: not_empty}}]}}
chains:
  default: {chain}
"""
RETRIED = "[{model: first, retries: 4, retry_wait_max_s: 0}, last]"


@pytest.fixture
def down() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def config(
    fleet: FleetProcess, down: str = "http://127.0.0.1:9", endpoint: str = "swap", chain: str = RETRIED
) -> str:
    return CHAINS.format(url=fleet.url, down=down, endpoint=endpoint, chain=chain)


def script(fleet: FleetProcess, *answers: dict[str, Any]) -> None:
    last = {"models": {"last": {"answers": [{"text": "saved"}]}}}
    fleet.script({"openai": {"models": {"m": {"answers": list(answers)}}}, "anthropic": last})
    fleet.reset()


def database(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "s.db")) as connection, connection:
        return connection.execute(statement).fetchall()


async def test_an_endpoint_that_is_down_is_passed_over_at_once(
    fleet: FleetProcess, down: str, tmp_path: Path
) -> None:
    script(fleet)
    chains = config(fleet, down)
    first = await walked(chains, tmp_path)
    assert (first.attempts[0].cause, first.output) == ("connect", "saved")
    events = Events()
    second = await walked(chains, tmp_path, events=events)
    skipped = second.attempts[0]
    assert (skipped.verdict, skipped.cause, second.output) == ("skip", "breaker_open", "saved")
    for words in ("endpoint 'swap'", "connect", "nothing listens at", "tried again in"):
        assert words in skipped.feedback
    assert not [event for event in events.seen if isinstance(event, Probed)], "no time is spent on a probe"


async def test_a_chain_whose_last_tier_is_out_ends_with_the_time_to_wait(
    fleet: FleetProcess, down: str, tmp_path: Path
) -> None:
    chains = config(fleet, down, chain="[{model: first, retry_wait_max_s: 0}]")
    await walked(chains, tmp_path)
    result = await walked(chains, tmp_path)
    assert (result.status, [one.cause for one in result.attempts]) == ("exhausted", ["breaker_open"])


async def test_one_request_that_goes_well_closes_it(fleet: FleetProcess, tmp_path: Path) -> None:
    boom = {"error": {"status": 500, "message": "boom"}, "times": 5}
    script(fleet, boom, {"text": "well again"})
    chains = config(fleet, endpoint="up")
    assert (await walked(chains, tmp_path)).attempts[0].cause == "server"
    asked = len(fleet.requests())
    assert (await walked(chains, tmp_path)).attempts[0].cause == "breaker_open"
    assert len(fleet.requests()) == asked + 1, "the last tier alone was asked"
    assert database(tmp_path, "SELECT endpoint, model, failures, error_kind FROM breakers") == [
        ("up", "first", 5, "server")
    ]
    database(tmp_path, "UPDATE breakers SET open_until = opened_at")  # the time is up
    result = await walked(chains, tmp_path)
    assert (result.output, result.model) == ("well again", "first")
    assert database(tmp_path, "SELECT * FROM breakers") == []


async def test_a_limit_that_outlasts_the_attempt_keeps_others_away(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    script(fleet, {"error": {"status": 429, "message": "slow down", "headers": {"retry-after": "60"}}})
    chains = config(fleet, endpoint="up")
    first = (await walked(chains, tmp_path)).attempts[0]
    assert (first.cause, first.retries) == ("rate_limit", 0)
    skipped = (await walked(chains, tmp_path)).attempts[0]
    assert skipped.cause == "breaker_open"
    assert "slow down" in skipped.feedback


def test_the_next_command_knows_and_a_person_can_say_otherwise(
    home: Any, fleet: FleetProcess, down: str
) -> None:
    script(fleet)
    home.write("chains.yaml", config(fleet, down, chain="[{model: first, retry_wait_max_s: 0}, last]"))

    def causes(*options: str) -> list[Any]:
        said = home.run("run", "review", "x", "--json", *options)
        return [attempt["cause"] for attempt in said.json["attempts"]]

    assert causes() == ["connect", None]
    assert causes() == ["breaker_open", None]

    row = next(row for row in home.run("models", "--json").json if row["model"] == "first")
    assert (row["breaker"]["model"], row["breaker"]["error_kind"]) == (None, "connect")
    assert "endpoint 'swap' is out since" in home.run("models").out
    (skip, _), (named,) = (
        [
            tier["skip"]
            for tier in home.run("run", "review", "x", "--dry-run", "--json", *options).json["tiers"]
        ]
        for options in ((), ("--model", "first"))
    )
    assert (skip["cause"], skip["reason"][:26], named) == ("breaker_open", "endpoint 'swap' is out sin", None)
    findings = home.run("doctor", "--json").json
    told = [one for one in findings if "not asked for a while" in one["message"]]
    assert [one["area"] for one in told] == ["endpoint swap"]
    assert "hyperguild models reset" in told[0]["remedy"]

    assert causes("--model", "first") == ["connect"], "who asks for it by name gets one try"
    said = home.run("run", "review", "x", "--chain", "default", "--local")
    assert said.code == 1
    assert "breaker_open" in said.error
    assert "tried again in" in said.error

    assert "no endpoint or model" in home.run("models", "reset", "swop").error
    assert home.run("models", "reset", "swap").out == "asked again from now on: endpoint swap\n"
    assert home.run("models", "reset").out == "nothing was kept from being asked\n"
    assert causes() == ["connect", None]


def test_a_run_that_ends_without_an_answer_says_when_to_come_back(home: Any, fleet: FleetProcess) -> None:
    script(fleet, {"error": {"status": 429, "message": "slow down", "headers": {"retry-after": "1200"}}})
    home.write("chains.yaml", config(fleet, endpoint="up", chain="[first]"))
    limited = home.run("run", "review", "x")
    assert limited.code == 1
    assert "rate_limit: " in limited.error
    assert "(first: it is tried again in 20 min; `hyperguild models reset` has it asked" in limited.error
    refused = home.run("run", "review", "x")
    assert "breaker_open" in refused.error
    assert "`hyperguild models reset` has it asked at once" in refused.error
    script(fleet, {"error": {"status": 401, "message": "no such key"}})
    home.run("models", "reset")
    assert "models reset" not in home.run("run", "review", "x").error, "that would not help"
