from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperguild.errors import UsageError
from hyperguild.review.importing import exported_runs

ID = "01a200eb-d80b-70ce-98a9-d38b3223%04d"


def exported_run() -> dict[str, Any]:
    attempt = {
        "attempt_id": ID % 3,
        "position": 0,
        "model": "phi4",
        "tier": "local",
        "endpoint": "swap",
        "verdict": "accept",
    }
    label = {"attempt_id": ID % 3, "reviewer": "ann", "value": "good", "created_at": "2026-01-01T00:00:00Z"}
    return {
        "run_id": ID % 1,
        "session_id": ID % 2,
        "skill": "review",
        "chain": "code",
        "status": "accepted",
        "best_attempt_id": ID % 3,
        "attempts": [attempt],
        "labels": [label | {"label_id": ID % 4}],
        "task": "Review.",
        "created_at": "2026-01-01T00:00:00Z",
    }


def in_run(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run.update(fields)


def in_attempt(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["attempts"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_run(duration_ms=2**63), "duration_ms: out of range"),
        (in_run(cost_usd=-1), "cost_usd: out of range"),
        (in_attempt(cost_usd=float("inf")), "attempts.cost_usd: out of range"),
        (in_attempt(usage={"input_tokens": 2**70}), "attempts.usage.input_tokens: out of range"),
        (in_attempt(score=5), "attempts.score: not between 0 and 1"),
        (in_attempt(verifier={"accept_at": 1.1}), "attempts.verifier.accept_at: not between 0 and 1"),
        (in_run(created_at="2026-01-01T00:00:00"), "created_at: no time with a time zone"),
        (in_run(created_at="0001-01-01T00:00:00+14:00"), "created_at: no time with a time zone"),
        (in_run(created_at="9999-12-31T23:59:59-14:00"), "created_at: no time with a time zone"),
        (in_run(run_id=""), "run_id: no UUID"),
        (in_run(session_id="\x1b[31mlast"), "session_id: no UUID"),
        (in_run(best_attempt_id="0" * 36), "best_attempt_id: not an attempt of this run"),
        (lambda run: run.update(parent_run_id=run["run_id"]), "parent_run_id: not older than the run"),
        (lambda run: run["attempts"].append(run["attempts"][0]), "attempt_id: two have the same"),
        (lambda run: run["labels"].append(run["labels"][0]), "label_id: two have the same"),
    ],
)
def test_what_no_log_can_hold_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    file = tmp_path / "runs.jsonl"
    run = exported_run()
    file.write_text(json.dumps(run))
    assert [one.run.result.run_id for one in exported_runs(file)] == [run["run_id"]]
    change(run)
    file.write_text(json.dumps(run))
    with pytest.raises(UsageError, match=re.escape(f"{file}:1: no run of `sessions export`: {said}")):
        list(exported_runs(file))
