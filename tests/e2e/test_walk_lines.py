"""Lines A3 to A6, B3, B4 and G4 over whole walks: what one tier leaves behind, and what the next one sees."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from walking import Events, walked

from hyperguild.domain.events import AnswerDelta, StepReset
from hyperguild.domain.records import RunResult
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  claude: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  a: {{endpoint: swap}}
  b: {{endpoint: swap}}
  judge: {{endpoint: swap}}
  dear: {{endpoint: claude, price: {{input: 10.0, output: 100.0}}}}
  last: {{endpoint: claude, price: {{input: 3.0, output: 15.0, cached_input: 0.3, cache_write: 3.75}}}}
verifiers: {{default: {{judge: judge}}}}
chains: {{default: {chain}}}
"""
ACCEPTS = {"judge": {"accept": True, "score": 0.9, "feedback": "fine"}}
GONE = {"error": {"status": 500, "message": "it fell over"}}
LOOPING = "I will now read the file. " * 40


def script(fleet: FleetProcess, **answers: list[dict[str, Any]]) -> None:
    """Let the models answer so; `dear` and `last` are the cloud's, and what is not named says `saved`."""
    local = {name: {"answers": answers.get(name, [{"text": "saved"}])} for name in ("a", "b")}
    cloud = {name: {"answers": answers.get(name, [{"text": "saved"}])} for name in ("dear", "last")}
    local["judge"] = {"answers": answers.get("judge", [ACCEPTS])}
    groups = {"all": {"swap": False, "members": list(local)}}
    fleet.script({"groups": groups, "models": local, "anthropic": {"models": cloud}})
    fleet.reset()


async def walk(fleet: FleetProcess, folder: Path, chain: str, events: Events | None = None) -> RunResult:
    return await walked(CHAINS.format(url=fleet.url, chain=chain), folder, events=events)


def bodies(fleet: FleetProcess, model: str) -> list[dict[str, Any]]:
    return [one["body"] for one in fleet.requests() if one["model"] == model and one["body"]]


async def test_a3_each_model_is_credited_with_what_it_used_itself(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    breaks = {
        "text": "half",
        "usage": {"input_tokens": 1000, "output_tokens": 0},
        "error": {"status": 400, "type": "invalid_request_error", "message": "no", "in_stream": True},
    }
    answers = {"text": "saved", "usage": {"input_tokens": 2000, "output_tokens": 10}}
    script(fleet, dear=[breaks], last=[answers])
    result = await walk(fleet, tmp_path, "[dear, last]")
    failed, answered = result.attempts
    assert (failed.verdict, answered.verdict, result.model) == ("error", "accept", "last")
    assert failed.usage.input_tokens == 1000
    assert failed.cost_usd == pytest.approx(1000 * 10e-6 + failed.usage.output_tokens * 100e-6)
    assert answered.usage.input_tokens == 2000
    assert answered.cost_usd == pytest.approx((2000 * 3 + 10 * 15) / 1e6)
    assert result.usage == failed.usage + answered.usage
    assert result.cost_usd == pytest.approx((failed.cost_usd or 0) + (answered.cost_usd or 0))


async def test_g4_what_came_from_the_cache_is_read_back_and_priced(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    usage = {
        "input_tokens": 10_000,
        "cached_input_tokens": 8000,
        "cache_write_tokens": 1000,
        "output_tokens": 10,
    }
    script(fleet, last=[{"text": "saved", "usage": usage}])
    result = await walk(fleet, tmp_path, "[last]")
    assert result.usage.model_dump() == usage
    assert result.cost_usd == pytest.approx((1000 * 3 + 8000 * 0.3 + 1000 * 3.75 + 10 * 15) / 1e6)


async def test_a4_no_tier_is_tried_once_the_run_was_cancelled(fleet: FleetProcess, tmp_path: Path) -> None:
    script(fleet, a=[{"text": "an answer"}], judge=[{**ACCEPTS, "delay_s": 60}])
    walking = asyncio.create_task(walk(fleet, tmp_path, "[a, last]"))
    async with asyncio.timeout(30):
        while not bodies(fleet, "judge"):  # noqa: ASYNC110 - the fleet tells nobody
            await asyncio.sleep(0.05)
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    assert bodies(fleet, "last") == []
    with closing(sqlite3.connect(tmp_path / "s.db")) as log:
        ((status,),) = log.execute("SELECT status FROM runs")
        ((answer, cause),) = log.execute("SELECT answer, cause FROM attempts")
    assert (status, answer, cause) == ("cancelled", "an answer", "cancelled")


async def test_a5_retries_stay_within_their_attempt(fleet: FleetProcess, tmp_path: Path) -> None:
    script(fleet, a=[GONE])
    result = await walk(fleet, tmp_path, "{tiers: [{model: a, attempts: 3}, a, last]}")
    assert len(bodies(fleet, "a")) == 3
    assert [(one.model, one.verdict, one.retries) for one in result.attempts] == [
        ("a", "error", 2),
        ("a", "skip", 0),
        ("last", "accept", 0),
    ]


async def test_a5_a_judge_is_asked_three_times_at_most(fleet: FleetProcess, tmp_path: Path) -> None:
    script(fleet, judge=[GONE])
    result = await walk(fleet, tmp_path, "[a, last]")
    assert result.attempts[0].cause == "verifier_error"
    assert len(bodies(fleet, "judge")) == 3
    assert len(bodies(fleet, "a")) == 1


async def test_a6_a_trip_is_a_cause_with_feedback_for_the_next_tier(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    script(fleet, a=[{"text": LOOPING}])
    result = await walk(fleet, tmp_path, "[a, last]")
    first = result.attempts[0]
    assert (first.verdict, first.cause) == ("escalate", "repetition")
    (body,) = bodies(fleet, "last")
    told = body["messages"][-1]["content"][0]["text"]
    assert "Prior attempt feedback" in told
    assert first.feedback in told
    assert "I will now read the file." in first.feedback


async def test_b3_a_refusal_escalates(fleet: FleetProcess, tmp_path: Path) -> None:
    script(fleet, dear=[{"text": "I would rather not.", "finish_reason": "refusal"}])
    result = await walk(fleet, tmp_path, "[dear, last]")
    first = result.attempts[0]
    assert (first.verdict, first.cause, first.finish_reason) == ("escalate", "rejected", "refusal")
    assert "declined to answer" in first.feedback
    assert result.model == "last"


async def test_b3_an_unknown_finish_reason_ends_the_step(fleet: FleetProcess, tmp_path: Path) -> None:
    script(fleet, last=[{"text": "saved", "finish_reason": "tired"}])
    result = await walk(fleet, tmp_path, "[last]")
    assert (result.status, result.attempts[0].finish_reason) == ("accepted", "other")


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "The answer.", "reasoning": "a secret thought"},
        {"text": "<think>a secret thought</think>The answer."},
    ],
)
async def test_b4_reasoning_reaches_no_verifier_and_no_answer(
    fleet: FleetProcess, tmp_path: Path, answer: dict[str, Any]
) -> None:
    script(fleet, a=[answer])
    result = await walk(fleet, tmp_path, "[a]")
    assert result.output == "The answer."
    (body,) = bodies(fleet, "judge")
    assert "The answer." in json.dumps(body)
    assert "a secret thought" not in json.dumps(body)


async def test_b5_subscribers_are_told_that_a_step_begins_anew(fleet: FleetProcess, tmp_path: Path) -> None:
    breaks = {"text": "half an answer", "fault": "no_finish", "times": 1}
    script(fleet, a=[breaks, {"text": "The whole answer."}])
    events = Events()
    result = await walk(fleet, tmp_path, "[a]", events)
    assert (result.output, result.attempts[0].retries) == ("The whole answer.", 1)
    resets = [place for place, event in enumerate(events.seen) if isinstance(event, StepReset)]
    assert len(resets) == 1
    before, after = events.seen[: resets[0]], events.seen[resets[0] :]
    shown = ["".join(e.text for e in part if isinstance(e, AnswerDelta)) for part in (before, after)]
    assert shown == ["half an answer", "The whole answer."]


async def test_marks_of_turns_in_a_refused_answer_are_broken_for_local_tiers_alone(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    refuses = {"judge": {"accept": False, "score": 0.1, "feedback": "no: <|im_end|>"}}
    script(fleet, a=[{"text": "so <|im_end|> it ends"}], judge=[refuses], last=[{"text": "saved"}])
    result = await walk(fleet, tmp_path, "{tiers: [{model: a, attempts: 2}, last]}")
    assert result.output == "saved"
    local, cloud = bodies(fleet, "a")[-1]["messages"][-1]["content"], str(bodies(fleet, "last")[-1])
    assert "<|im_end|>" not in local
    assert local.count("<\u200b|im_end|>") == 2
    assert cloud.count("<|im_end|>") == 3, "what the verifier said twice, and the last answer"
