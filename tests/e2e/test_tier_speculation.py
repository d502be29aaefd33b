"""`speculate: true`: the next tier is begun while the verifier judges (I4); over the simulated fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from speculating import settled, told
from walking import Events, walked

from hyperguild.domain.events import Event, SpeculationStarted
from hyperguild.domain.records import RunResult, SpeculationUse
from hyperguild.simulation.process import FleetProcess

HEAD = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  claude: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  local: {{endpoint: swap}}
  judge: {{endpoint: swap}}
  cloud: {{endpoint: claude, price: {{input: 1000.0, output: 1000.0}}, max_output_tokens: 10}}
verifiers:
  default: {{judge: {{model: judge, timeout_s: 90}}}}
chains:
"""
CHAIN = "[{model: local, speculate: true}, cloud]"
LONG_S = 60.0
"""No test waits for an answer of that length: it is there to be overtaken."""


def script(*, accepts: bool, judging_s: float = 0.4, cloud_s: float = 0.0, error: bool = False) -> Any:
    verdict = {"accept": accepts, "score": 0.9 if accepts else 0.1, "feedback": "as I see it"}
    answer = {"error": {"status": 400}} if error else {"text": "cloudy", "delay_s": cloud_s}
    return {
        "groups": {"all": {"swap": False, "members": ["local", "judge"]}},
        "models": {
            "local": {"answers": [{"text": "an answer"}]},
            "judge": {"answers": [{"judge": verdict, "delay_s": judging_s}]},
        },
        "anthropic": {"models": {"cloud": {"answers": [answer]}}},
    }


async def speculate(
    fleet: FleetProcess, folder: Path, chain: str = CHAIN, events: Events | None = None
) -> RunResult:
    return await walked(HEAD.format(url=fleet.url) + f"  default: {chain}\n", folder, events=events)


def place(events: Events, holds: Callable[[Event], bool]) -> int:
    return next(place for place, event in enumerate(events.seen) if holds(event))


def asked(fleet: FleetProcess, model: str) -> list[dict[str, Any]]:
    return [one for one in fleet.requests() if one["method"] == "POST" and one["model"] == model]


@pytest.mark.parametrize("cloud_s", [0.0, 0.8])
async def test_i4_the_next_tier_runs_while_the_verifier_judges_and_is_used(
    fleet: FleetProcess, tmp_path: Path, cloud_s: float
) -> None:
    fleet.script(script(accepts=False, cloud_s=cloud_s))
    events = Events()
    result = await speculate(fleet, tmp_path, events=events)
    assert told(result) == [("local", 0, "escalate", "rejected"), ("cloud", 1, "accept", None)]
    [started] = [one for one in events.seen if isinstance(one, SpeculationStarted)]
    assert (started.kind, started.what, started.attempt_id) == (
        "tier",
        "cloud",
        result.attempts[1].attempt_id,
    )
    verdict = place(events, lambda event: event.type == "verdict" and event.verdict == "escalate")
    assert events.seen.index(started) < verdict
    accepted = place(events, lambda event: event.type == "verdict" and event.verdict == "accept")
    assert verdict < accepted, "nothing of the guess counts before the verdict"
    event = settled(events)
    assert (event.outcome, event.wasted.tokens, event.wasted_usd) == ("hit", 0, 0.0)
    assert event.saved_ms is not None
    assert 0 <= event.saved_ms <= result.attempts[0].duration_ms
    assert result.speculation == SpeculationUse(hits=1, saved_ms=event.saved_ms)
    [request] = asked(fleet, "cloud")
    assert "Prior attempt feedback" not in str(request["body"]), "nobody knew of any"


async def test_i4_an_accepted_verdict_cancels_it(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(script(accepts=True, cloud_s=LONG_S))
    events = Events()
    result = await speculate(fleet, tmp_path, events=events)
    assert told(result) == [("local", 0, "accept", None), ("cloud", 1, "error", "cancelled")]
    lost = result.attempts[1]
    assert result.cost_usd == lost.cost_usd
    event = settled(events)
    assert (event.outcome, event.saved_ms, event.wasted_usd) == ("miss", 0, lost.cost_usd)
    assert result.speculation == SpeculationUse(
        misses=1, wasted_tokens=lost.usage.tokens, wasted_usd=lost.cost_usd
    )
    async with asyncio.timeout(30):
        while asked(fleet, "cloud")[0]["outcome"] != "client_disconnected":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


async def test_i4_an_error_of_the_guess_is_not_the_users(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(script(accepts=True, error=True))
    result = await speculate(fleet, tmp_path)
    assert (result.status, result.model) == ("accepted", "local")
    assert told(result)[1] == ("cloud", 1, "error", "cancelled")


async def test_i4_nothing_is_begun_that_the_budget_does_not_allow(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(script(accepts=True))
    poor = f"{{budget: {{cost_usd: 0.001}}, tiers: {CHAIN}}}"
    result = await speculate(fleet, tmp_path, poor)
    assert told(result) == [("local", 0, "accept", None)]
    assert not asked(fleet, "cloud")
    assert result.speculation is None


def test_i4_interrupted_leaves_a_true_log_and_goes_on_with_the_answer(
    home: Any, fleet: FleetProcess, until: Any
) -> None:
    fleet.script(script(accepts=True, judging_s=LONG_S, cloud_s=LONG_S))
    home.write("chains.yaml", HEAD.format(url=fleet.url) + f"  default: {CHAIN}\n")
    process = home.start("run", "review", "x", "--json")
    until(lambda: asked(fleet, "judge") and asked(fleet, "cloud"))
    process.send_signal(2)
    process.communicate(timeout=60)
    assert process.returncode == 130
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    ended = sorted((one["model"], one["verdict"], one["cause"]) for one in run["attempts"])
    assert ended == [("cloud", "error", "cancelled"), ("local", "error", "cancelled")]
    assert (run["speculation"]["hits"], run["speculation"]["misses"]) == (0, 0)

    fleet.script(script(accepts=True))
    went_on = home.run("run", "--continue", "--json")
    assert (went_on.json["status"], went_on.json["model"]) == ("accepted", "local"), went_on.err
    assert len(asked(fleet, "local")) == 1, "its answer is on record"
