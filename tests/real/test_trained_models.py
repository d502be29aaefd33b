"""Three small trained models: a whole walk with a judge that judges."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from real.fleet import open_bench

SAMPLE = Path(__file__).parent / "sample.jsonl"
"""Dates that the models were not trained on, chosen so that every outcome of the chain occurs, and so that no
score lies near the threshold of 0.7."""

IN_WORDS = "third of March, twenty twenty-four"


@pytest.fixture(scope="module")
def sample() -> list[dict[str, str]]:
    return [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()]


async def test_an_easy_date_is_accepted_at_the_first_tier(iso_date_chains: str, tmp_path: Path) -> None:
    async with open_bench(tmp_path, iso_date_chains) as bench:
        result = await bench.run("3. März 2024")
        stored = await bench.stored(result)
    assert (result.status, result.output, result.model) == ("accepted", "2024-03-03", "apprentice")
    (attempt,) = result.attempts
    assert attempt.score is not None
    assert attempt.score >= 0.7
    assert attempt.finish_reason == "stop"
    assert [check.passed for check in attempt.checks] == [True]
    assert attempt.verifier.model == "judge"
    assert result.usage == attempt.usage + attempt.verifier.usage
    # The log keeps times of day to the millisecond.
    but_for_times = {"attempts": {"__all__": {"started_at"}}}
    assert stored.result.model_dump(exclude=but_for_times) == result.model_dump(exclude=but_for_times)
    assert stored.task == "3. März 2024"


async def test_a_refused_answer_comes_with_its_reason_to_the_next_tier(
    iso_date_chains: str, tmp_path: Path
) -> None:
    async with open_bench(tmp_path, iso_date_chains) as bench:
        result = await bench.run(IN_WORDS)
        stored = await bench.stored(result)
    first, second = result.attempts
    assert (first.model, first.verdict, first.cause) == ("apprentice", "escalate", "rejected")
    assert first.feedback == "the year is wrong"
    assert (result.status, result.output, result.model) == ("accepted", "2024-03-03", "journeyman")
    assert result.best_attempt_id == second.attempt_id
    (step,) = [step for step in stored.steps if step.attempt_id == second.attempt_id]
    system, user, assistant = step.messages
    assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
    assert user["content"].startswith(f"{IN_WORDS}\n")
    assert user["content"].count("Prior attempt feedback") == 1
    assert first.feedback in user["content"]
    assert first.answer in user["content"]
    assert assistant["content"] == "2024-03-03"
    assert "Prior attempt feedback" not in str(stored.steps[0].messages)


async def test_a_day_that_is_not_in_the_calendar(iso_date_chains: str, tmp_path: Path) -> None:
    async with open_bench(tmp_path, iso_date_chains) as bench:
        result = await bench.run("31 Feb 2023")
    assert (result.status, result.output, result.model) == ("accepted", "invalid", "journeyman")
    assert result.attempts[0].feedback == "should be invalid"


@pytest.mark.long
async def test_the_chain_beats_its_first_tier_and_the_log_counts_it(
    iso_date_chains: str, sample: list[dict[str, str]], tmp_path: Path
) -> None:
    async with open_bench(tmp_path, iso_date_chains) as bench:
        results = [await bench.run(line["prompt"]) for line in sample]
        with closing(sqlite3.connect(bench.db)) as log:
            attempts = rows(log, "SELECT position, verdict, cause, answer FROM attempts")
            runs = rows(log, "SELECT status, output FROM runs")
    alone = sum(
        result.attempts[0].answer == line["answer"] for result, line in zip(results, sample, strict=True)
    )
    chained = sum(result.output == line["answer"] for result, line in zip(results, sample, strict=True))
    assert len(sample) > chained > alone > 0

    escalated = [result for result in results if result.attempts[0].verdict == "escalate"]
    assert 0 < len(escalated) < len(sample)
    assert all(len(result.attempts) == 2 for result in escalated)
    assert len(attempts) == len(sample) + len(escalated)
    assert sum(position == 1 for position, *_ in attempts) == len(escalated)
    refused = [verdict for position, verdict, *_ in attempts if position == 0 and verdict == "escalate"]
    assert len(refused) == len(escalated)
    assert {cause for _, verdict, cause, _ in attempts if verdict == "escalate"} == {"rejected"}

    # Every way a run of this chain can end is in the sample.
    assert sorted(runs) == sorted((result.status, result.output) for result in results)
    assert {(result.status, result.model) for result in results} == {
        ("accepted", "apprentice"),
        ("accepted", "journeyman"),
        ("best_effort", "apprentice"),
        ("best_effort", "journeyman"),
    }


def rows(log: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return log.execute(query).fetchall()
