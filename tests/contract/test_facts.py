"""What attempts were recorded with comes back as facts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

from judged_log import JudgedLog

from hyperguild.domain.records import ModelUse
from hyperguild.domain.usage import Usage


def test_the_judges_word_its_threshold_and_hooks_come_back(tmp_path: Path) -> None:
    log = JudgedLog(tmp_path / "sessions.db")
    hook = ModelUse(model="tiny", purpose="hook", usage=Usage(input_tokens=5), cost_usd=0.25)
    delegated = ModelUse(model="phi4", purpose="delegate", usage=Usage(input_tokens=900), cost_usd=9.0)
    log.run(
        log.judged(0.9, "good"),
        log.judged(0.9, "bad", judge={"accepts": False, "accept_at": 0.95}),
        log.judged(0.4, judge={"accepts": None, "accept_at": None}),
        log.attempt(asides=(hook, delegated, hook)),
        log.attempt(asides=(hook, hook.model_copy(update={"cost_usd": None}))),
    )
    log.write()
    ((*judged, hooked, unpriced),) = [fact.attempts for fact in asyncio.run(log.facts())]
    assert [(one.judge_accepts, one.accept_at, one.label) for one in judged] == [
        (True, 0.7, "good"),
        (False, 0.95, "bad"),
        (None, None, None),
    ]
    assert (hooked.hooks_usage, hooked.hooks_cost_usd) == (Usage(input_tokens=10), 0.5)
    assert (unpriced.hooks_usage, unpriced.hooks_cost_usd) == (Usage(input_tokens=10), None)


def test_attempts_recorded_before_that_say_neither(tmp_path: Path) -> None:
    log = JudgedLog(tmp_path / "sessions.db")
    log.run(log.judged(0.9, "good"))
    log.write()
    old = json.dumps({"model": "qwen3-8b", "usage": {"input_tokens": 7}, "cost_usd": 0.5})
    with sqlite3.connect(log.path) as connection:
        connection.execute("UPDATE attempts SET verifier = ?", (old,))
    connection.close()
    ((attempt,),) = [fact.attempts for fact in asyncio.run(log.facts())]
    assert (attempt.judge, attempt.judge_cost_usd) == ("qwen3-8b", 0.5)
    assert (attempt.judge_accepts, attempt.accept_at) == (None, None)
