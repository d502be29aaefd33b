"""The walk's finer rules, over the simulated fleet."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from walking import Events, walked

from hyperguild.domain.events import AttemptStarted, LoadWaiting, Probed
from hyperguild.simulation.process import FleetProcess

HEAD = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  one: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000, max_concurrency: 1}}
  peers: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  claude: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  a: {{endpoint: swap}}
  b: {{endpoint: swap}}
  queued: {{endpoint: one, upstream: a}}
  cloudy: {{endpoint: peers}}
  judge: {{endpoint: swap}}
  last: {{endpoint: claude}}
verifiers:
  default: {{judge: {{model: judge, timeout_s: 30}}}}
  checked:
    judge: judge
    checks: [{{kind: not_empty}}, {{kind: complete}}, {{kind: regex, pattern: "^## "}}]
  slow: {{checks: [{{kind: command, argv: [sleep, "30"]}}]}}
chains:
"""
ACCEPTS = {"judge": {"accept": True, "score": 0.9, "feedback": "fine"}}
REFUSES = {"judge": {"accept": False, "score": 0.1, "feedback": "no good"}}


def fleet_script(**models: dict[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {"a": {}, "b": {}, "judge": {"answers": [ACCEPTS]}, **models}
    return {
        "groups": {"all": {"swap": False, "members": list(named)}},
        "models": named,
        "anthropic": {"models": {"last": {"answers": [{"text": "saved"}]}}},
    }


async def walk(fleet: FleetProcess, folder: Path, chain: str, events: Events | None = None) -> Any:
    return await walked(HEAD.format(url=fleet.url) + f"  default: {chain}\n", folder, events=events)


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"answers": [{"text": text, **fields}]}


async def test_a_deadline_bounds_the_judge(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a=said("answer"), judge={"answers": [{**ACCEPTS, "delay_s": 30}]}))
    result = await walk(fleet, tmp_path, "{tiers: [a], budget: {seconds: 1.5}}")
    assert result.status == "budget_exceeded"
    (attempt,) = result.attempts
    assert (attempt.verdict, attempt.cause, attempt.answer) == ("escalate", "budget", "answer")
    assert result.best_attempt_id == attempt.attempt_id
    assert result.duration_ms < 10_000


async def test_a_deadline_bounds_the_checks(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a=said("answer")))
    result = await walk(fleet, tmp_path, "{tiers: [a], verifier: slow, budget: {seconds: 1.5}}")
    assert (result.status, result.attempts[0].cause) == ("budget_exceeded", "budget")


async def test_a_deadline_that_passes_in_the_last_tier_is_a_spent_budget(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(fleet_script(a=said("answer", delay_s=30)))
    result = await walk(fleet, tmp_path, "{tiers: [a], budget: {seconds: 1}}")
    assert (result.status, result.attempts[0].cause) == ("budget_exceeded", "timeout")


async def test_checks_run_on_what_was_cut_off_and_the_judge_does_not(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    fleet.script(fleet_script(a=said("half an ans", finish_reason="length")))
    result = await walk(fleet, tmp_path, "{tiers: [a, last], verifier: checked}")
    first = result.attempts[0]
    assert (first.verdict, first.cause) == ("escalate", "truncated")
    assert [(check.kind, check.passed) for check in first.checks] == [
        ("not_empty", True),
        ("complete", False),
        ("regex", False),
    ]
    assert "cut off" in first.feedback
    assert "regex" in first.feedback
    assert first.verifier.model is None


async def test_a_tool_call_is_no_answer(fleet: FleetProcess, tmp_path: Path) -> None:
    calls = {"text": "let me look", "tool_calls": [{"name": "look", "arguments": {}}]}
    fleet.script(fleet_script(a={"answers": [calls]}))
    result = await walk(fleet, tmp_path, "{tiers: [{model: a, verify: false}, last]}")
    assert (result.attempts[0].verdict, result.output) == ("escalate", "saved")
    assert "tool" in result.attempts[0].feedback


async def test_a_judge_that_erred_is_not_waited_for_again(fleet: FleetProcess, tmp_path: Path) -> None:
    judge = {"answers": [{"error": {"status": 400, "message": "cannot judge"}}]}
    fleet.script(fleet_script(a=said("one"), b=said("two"), judge=judge))
    fleet.reset()
    result = await walk(fleet, tmp_path, "[a, b, last]")
    assert [one.cause for one in result.attempts] == ["verifier_error", "verifier_error", None]
    assert len([one for one in fleet.requests() if one["model"] == "judge"]) == 1


async def test_load_and_first_token_times_are_true(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a={"load_s": 1.0, "first_token_s": 0.6, **said("answer")}))
    events = Events()
    result = await walk(fleet, tmp_path, "[a]", events)
    (attempt,) = result.attempts
    assert attempt.load_ms == pytest.approx(1000, abs=450)
    assert attempt.first_token_ms == pytest.approx(600, abs=450)
    kinds = [type(event) for event in events.seen]
    assert kinds.index(AttemptStarted) < kinds.index(Probed) < kinds.index(LoadWaiting)
    started = next(event for event in events.seen if isinstance(event, AttemptStarted))
    probed = next(event for event in events.seen if isinstance(event, Probed))
    assert started.attempt_id == probed.attempt_id == attempt.attempt_id


async def test_the_load_time_of_a_load_that_failed_is_true(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a={"load_s": 30}))
    result = await walk(fleet, tmp_path, "{tiers: [{model: a, load_timeout_s: 0.7}, last]}")
    assert result.attempts[0].load_ms == pytest.approx(700, abs=350)


async def test_no_load_is_claimed_where_nobody_knows(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script({"peers": {"elsewhere": {"models": ["cloudy"]}}, **fleet_script()})
    events = Events()
    result = await walk(fleet, tmp_path, "{tiers: [{model: cloudy, retries: 0}, last]}", events)
    assert result.attempts[0].warm_state == "unknown"
    assert result.attempts[0].load_ms is None
    assert not [event for event in events.seen if isinstance(event, LoadWaiting)]


async def test_our_own_queue_is_no_silence(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a=said("answer", delay_s=0.5)))
    config = HEAD.format(url=fleet.url) + (
        "  default: {tiers: [{model: queued, verify: false, first_token_timeout_s: 1.4, retries: 0}]}\n"
    )
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(_in_one_guild(config, tmp_path, index)) for index in range(4)]
    assert [run.result() for run in runs] == ["accepted"] * 4


async def _in_one_guild(config: str, folder: Path, index: int) -> str:
    mine = folder / str(index)
    mine.mkdir()
    return (await walked(config, mine)).status


async def test_feedback_never_fills_a_small_window(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script(fleet_script(a=said(" ".join(map(str, range(4000)))), b=said("good"), judge={"answers": [
        {"when": {"contains": "good"}, **ACCEPTS}, REFUSES]}))  # fmt: skip
    fleet.reset()
    config = HEAD.format(url=fleet.url).replace(
        "  b: {endpoint: swap}", "  b: {endpoint: swap, context_window: 400}"
    )
    result = await walked(config + "  default: [a, b]\n", tmp_path)
    assert result.status == "accepted"
    body = next(one["body"] for one in fleet.requests() if one["model"] == "b")
    prompt = body["messages"][-1]["content"]
    assert prompt.count("Prior attempt feedback") == 1
    assert "no good" in prompt
    assert len(prompt) < 400 * 4 / 2 + 100


async def test_a_log_that_is_busy_for_a_while_costs_no_answer(
    fleet: FleetProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperguild.orchestration.lease.RENEW_EVERY_S", 0.2)
    fleet.script(fleet_script(a=said("answer", delay_s=7)))
    walking = asyncio.create_task(walk(fleet, tmp_path, "[a]"))
    await asyncio.sleep(1)
    holder = sqlite3.connect(tmp_path / "s.db")
    holder.execute("BEGIN IMMEDIATE")
    await asyncio.sleep(5.5)
    holder.rollback()
    holder.close()
    assert (await walking).status == "accepted"
