"""`when_cold: hedge`: the next tier runs while a model that is cold is loaded; over the simulated fleet."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from speculating import settled, told
from walking import Events, walked

from hyperguild.domain.events import AttemptStarted, SpeculationStarted
from hyperguild.domain.records import RunResult, UnrecordedRunError
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
  default: {{judge: {{model: judge, timeout_s: 30}}}}
  checked: {{checks: [{{kind: regex, pattern: good}}]}}
chains:
"""
HEDGED = "{verifier: checked, tiers: [{model: local, when_cold: hedge}, cloud]}"
LONG_S = 60.0
"""No test waits for a load or an answer of that length: it is there to be overtaken."""


def script(load_s: float, text: str = "good", delay_s: float = 0.0, cloud: str = "cloudy good") -> Any:
    return {
        "groups": {"all": {"swap": False, "members": ["local", "judge"]}},
        "models": {"local": {"load_s": load_s, "answers": [{"text": text}]}, "judge": {}},
        "anthropic": {"models": {"cloud": {"answers": [{"text": cloud, "delay_s": delay_s}]}}},
    }


async def hedge(
    fleet: FleetProcess, folder: Path, chain: str = HEDGED, events: Events | None = None
) -> RunResult:
    return await walked(HEAD.format(url=fleet.url) + f"  default: {chain}\n", folder, events=events)


def asked(fleet: FleetProcess, model: str) -> list[dict[str, Any]]:
    return [one for one in fleet.requests() if one["method"] == "POST" and one["model"] == model]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - the fleet does not tell
            await asyncio.sleep(0.02)


async def test_hedge_answers_from_the_next_tier_and_lets_the_model_load(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(script(load_s=1.5))
    events = Events()
    result = await hedge(fleet, tmp_path, events=events)
    assert (result.status, result.model) == ("accepted", "cloud")
    assert told(result) == [("cloud", 1, "accept", None), ("local", 0, "error", "cancelled")]
    lost = result.attempts[1]
    assert lost.error is not None
    assert lost.error.message == "the answer of cloud was accepted first"
    assert (lost.warm_state, lost.cost_usd) == ("cold", 0.0)
    assert lost.attempt_id < result.attempts[0].attempt_id, "ids tell the order in which they began"
    await until(lambda: asked(fleet, "local")[0]["outcome"] == "client_disconnected")
    [started] = [one for one in events.seen if isinstance(one, SpeculationStarted)]
    assert (started.kind, started.what, started.attempt_id) == (
        "hedge",
        "cloud",
        result.attempts[0].attempt_id,
    )
    assert (settled(events).outcome, settled(events).saved_ms) == ("hit", None)
    assert [one.model for one in events.seen if isinstance(one, AttemptStarted)] == ["local", "cloud"]

    await until(lambda: fleet.state()["models"]["local"]["state"] == "ready")
    again = await hedge(fleet, tmp_path)
    assert (again.model, [one.warm_state for one in again.attempts]) == ("local", ["ready"])
    assert len(asked(fleet, "cloud")) == 1


async def test_hedge_is_cancelled_and_paid_for_when_the_model_is_first(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(script(load_s=0.3, delay_s=LONG_S))
    events = Events()
    result = await hedge(fleet, tmp_path, events=events)
    assert told(result) == [("local", 0, "accept", None), ("cloud", 1, "error", "cancelled")]
    await until(lambda: asked(fleet, "cloud")[0]["outcome"] == "client_disconnected")
    lost = result.attempts[1]
    assert result.cost_usd == lost.cost_usd
    event = settled(events)
    assert (event.outcome, event.saved_ms) == ("miss", 0)
    assert (event.wasted, event.wasted_usd) == (lost.usage, lost.cost_usd)


async def test_hedge_waits_for_the_model_when_the_next_tier_is_refused(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(script(load_s=0.5, cloud="bad"))
    chain = "{verifier: checked, tiers: [{model: local, when_cold: hedge}, {model: cloud, verify: true}]}"
    result = await hedge(fleet, tmp_path, chain)
    assert told(result) == [("cloud", 1, "escalate", "check_failed"), ("local", 0, "accept", None)]


@pytest.mark.parametrize("load_s", [0.0, 0.4])
async def test_hedge_that_both_refuse_goes_on_behind_them(
    fleet: FleetProcess, tmp_path: Path, load_s: float
) -> None:
    changed = script(load_s, text="bad", cloud="bad", delay_s=0.2)
    changed["anthropic"]["models"]["last"] = {"answers": [{"text": "good"}]}
    fleet.script(changed)
    head = HEAD.replace("verifiers:", "  last: {{endpoint: claude}}\nverifiers:").format(url=fleet.url)
    tiers = "[{model: local, when_cold: hedge, attempts: 2}, {model: cloud, verify: true}, last]"
    events = Events()
    result = await walked(
        f"{head}  default: {{verifier: checked, tiers: {tiers}}}\n", tmp_path, events=events
    )
    assert result.model == "last"
    first, second, third = told(result)
    assert {first[0], second[0]} == {"local", "cloud"}
    assert third == ("last", 2, "accept", None)
    event = settled(events)
    assert event.outcome == "hit"
    assert event.saved_ms is not None
    prompt = str(asked(fleet, "last")[0]["body"])
    assert prompt.count("Prior attempt feedback") == 2
    assert "Prior attempt feedback" not in str(asked(fleet, "cloud")[0]["body"])


async def test_hedge_after_s_delays_it(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(script(load_s=0.2))
    chain = HEDGED.replace("hedge}", f"hedge, hedge_after_s: {LONG_S:g}}}")
    result = await hedge(fleet, tmp_path, chain)
    assert told(result) == [("local", 0, "accept", None)]
    assert not asked(fleet, "cloud")

    fleet.script(script(load_s=LONG_S))
    result = await hedge(fleet, tmp_path, chain.replace(f"{LONG_S:g}", "0.3"))
    assert [one.model for one in result.attempts] == ["cloud", "local"]
    assert result.attempts[1].duration_ms >= 300


async def test_hedge_never_exceeds_the_budget(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(script(load_s=0.3))
    poor = HEDGED.replace("tiers:", "budget: {cost_usd: 0.001}, tiers:")
    result = await hedge(fleet, tmp_path, poor)
    assert told(result) == [("local", 0, "accept", None)]
    assert not asked(fleet, "cloud")


async def test_hedge_is_not_begun_where_the_next_model_is_cold_too(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(script(load_s=0.2))
    result = await hedge(fleet, tmp_path, "{tiers: [{model: local, when_cold: hedge, verify: false}, judge]}")
    assert told(result) == [("local", 0, "accept", None)]
    assert not asked(fleet, "judge")


async def test_hedge_that_fails_leaves_the_model_its_turn(fleet: FleetProcess, tmp_path: Path) -> None:
    changed = script(load_s=0.4)
    changed["anthropic"]["models"]["cloud"] = {"answers": [{"error": {"status": 400}}]}
    fleet.script(changed)
    result = await hedge(fleet, tmp_path)
    assert told(result) == [("cloud", 1, "error", "bad_request"), ("local", 0, "accept", None)]


@pytest.mark.long
def test_hedge_interrupted_leaves_a_true_log(home: Any, fleet: FleetProcess, until: Any) -> None:
    fleet.script(script(load_s=LONG_S, delay_s=LONG_S))
    home.write("chains.yaml", HEAD.format(url=fleet.url) + f"  default: {HEDGED}\n")
    process = home.start("run", "review", "x", "--json")
    until(lambda: asked(fleet, "local") and asked(fleet, "cloud"))
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    until(lambda: all(one["outcome"] == "client_disconnected" for one in asked(fleet, "cloud")))
    until(lambda: all(one["outcome"] == "client_disconnected" for one in asked(fleet, "local")))
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    assert run["status"] == "cancelled"
    ended = [(one["model"], one["verdict"], one["cause"]) for one in run["attempts"]]
    assert sorted(ended) == [("cloud", "error", "cancelled"), ("local", "error", "cancelled")]
    assert {one["error"]["message"] for one in run["attempts"]} == {"cancelled by the caller"}

    fleet.script(script(load_s=0.0))
    went_on = home.run("run", "--continue", "--json")
    assert (went_on.json["status"], went_on.json["run_id"]) == ("accepted", run["run_id"]), went_on.err


def test_hedge_killed_leaves_a_true_log(home: Any, fleet: FleetProcess, until: Any) -> None:
    fleet.script(script(load_s=LONG_S, delay_s=LONG_S))
    home.write("chains.yaml", HEAD.format(url=fleet.url) + f"  default: {HEDGED}\n")
    process = home.start("run", "review", "x", "--json")
    until(lambda: asked(fleet, "local") and asked(fleet, "cloud"))
    process.kill()
    process.communicate(timeout=60)
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    assert (run["status"], run["attempts"]) == ("interrupted", [])


@pytest.mark.parametrize("cloud", ["good", "bad"])
async def test_hedge_ends_with_what_is_known_where_the_log_fails(
    fleet: FleetProcess, tmp_path: Path, cloud: str
) -> None:
    fleet.script(script(load_s=0.0))
    await hedge(fleet, tmp_path)
    with closing(sqlite3.connect(tmp_path / "s.db")) as log:
        log.execute("CREATE TRIGGER no BEFORE INSERT ON attempts BEGIN SELECT RAISE(FAIL, 'refused'); END")
    fleet.script(script(load_s=LONG_S, cloud=cloud))
    fleet.reset()
    events = Events()
    chain = HEDGED.replace("cloud]", "{model: cloud, verify: true}]")
    with pytest.raises(UnrecordedRunError) as caught:
        await hedge(fleet, tmp_path, chain, events)
    result = caught.value.result
    ended = {one.model: (one.verdict, one.cause) for one in result.attempts}
    assert ended["local"] == ("error", "cancelled")
    if cloud == "good":
        assert (result.status, result.output, ended["cloud"]) == ("accepted", "good", ("accept", None))
    else:
        assert (result.status, ended["cloud"]) == ("interrupted", ("escalate", "check_failed"))
        [lost] = [one for one in result.attempts if one.model == "local"]
        assert lost.error is not None
        assert lost.error.message.startswith("cut off: ")
    await until(lambda: asked(fleet, "local")[0]["outcome"] == "client_disconnected")


async def test_hedge_has_one_winner_however_close_it_is(fleet: FleetProcess, tmp_path: Path) -> None:
    for delay_s in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.12):
        fleet.script(script(load_s=0.02, delay_s=delay_s))
        fleet.reset()
        result = await hedge(fleet, tmp_path)
        verdicts = [one.verdict for one in result.attempts]
        assert result.status == "accepted"
        assert verdicts[0] == "accept"
        assert verdicts[1:] in ([], ["error"])
        assert result.model == result.attempts[0].model
