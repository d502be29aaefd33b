"""Reads runs as statistics, calibration and replay take them: in batches, oldest first."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import cast

from hyperguild.adapters.store.filters import of_runs
from hyperguild.adapters.store.reading import LogReader
from hyperguild.adapters.store.rows import read_usage
from hyperguild.adapters.store.search import add_text
from hyperguild.domain.records import JudgeUse, ModelUse, RunStatus, SpeculationUse
from hyperguild.domain.review import AttemptFact, RecordedRun, ReviewFilter, RunFact
from hyperguild.domain.usage import Usage, total_cost_usd

BATCH = 500
"""Runs that are read in one go: some milliseconds, in which nothing else is asked of the store."""

_OF_RUN = (
    "run_id, session_id, parent_run_id, skill, chain, status, created_at, duration_ms, usage, cost_usd,"
    " speculation, lease_expires_at, pid, host, process_started"
)
_AS_THEY_ARE = (
    "attempt_id",
    "position",
    "model",
    "tier",
    "verdict",
    "cause",
    "score",
    "label",
    "warm_state",
    "duration_ms",
    "load_ms",
    "first_token_ms",
    "verify_ms",
    "cost_usd",
    "finish_reason",
)
_OF_ATTEMPT = f"run_id, usage, verifier, asides, started_at, {', '.join(_AS_THEY_ARE)}"


def fitting_runs(reader: LogReader, connection: sqlite3.Connection, wanted: ReviewFilter) -> list[str]:
    """Return the ids of all runs that fit, oldest first."""
    fits = of_runs(wanted, reader.dead_runs(connection))
    add_text(connection, fits, "runs", wanted)
    rows = connection.execute(
        f"SELECT run_id FROM runs WHERE {fits.sql} ORDER BY created_at, run_id", fits.values
    )
    return [row["run_id"] for row in rows]


def recorded_runs(
    connection: sqlite3.Connection, reader: LogReader, run_ids: Sequence[str], *, texts: bool
) -> list[RecordedRun]:
    """Return these runs in this order, without texts unless asked for; those that are gone are left out."""
    columns, answers = (f"{_OF_RUN}, task", f"{_OF_ATTEMPT}, answer") if texts else (_OF_RUN, _OF_ATTEMPT)
    among = "run_id IN (SELECT value FROM json_each(?))"
    ids = (json.dumps(run_ids),)
    # Columns are constants of the code.
    runs = {
        row["run_id"]: row for row in connection.execute(f"SELECT {columns} FROM runs WHERE {among}", ids)
    }
    attempts = connection.execute(
        f"SELECT {answers} FROM attempts WHERE {among} ORDER BY run_id, rowid",
        ids,
    )
    of_run = {run_id: list(rows) for run_id, rows in groupby(attempts, key=lambda row: str(row["run_id"]))}

    return [
        _recorded(reader, runs[run_id], of_run.get(run_id, []), texts=texts)
        for run_id in run_ids
        if run_id in runs
    ]


def _recorded(
    reader: LogReader, run: sqlite3.Row, attempts: Sequence[sqlite3.Row], *, texts: bool
) -> RecordedRun:
    status = reader.status(run)
    fact = reader.readable(lambda: _run_fact(run, status, attempts), f"run {run['run_id']}")
    answers = {row["attempt_id"]: row["answer"] for row in attempts} if texts else {}
    return RecordedRun(fact, run["task"] if texts else None, answers)


def _run_fact(run: sqlite3.Row, status: str, attempts: Iterable[sqlite3.Row]) -> RunFact:
    return RunFact(
        run_id=run["run_id"],
        session_id=run["session_id"],
        parent_run_id=run["parent_run_id"],
        skill=run["skill"],
        chain=run["chain"],
        status=cast("RunStatus", status),
        created_at=datetime.fromisoformat(run["created_at"]),
        duration_ms=run["duration_ms"],
        usage=read_usage(run["usage"]),
        cost_usd=run["cost_usd"],
        attempts=tuple(_attempt_fact(row) for row in attempts),
        speculation=None
        if run["speculation"] is None
        else SpeculationUse.model_validate_json(run["speculation"]),
    )


def _attempt_fact(row: sqlite3.Row) -> AttemptFact:
    same = {name: row[name] for name in _AS_THEY_ARE}
    judge = JudgeUse.model_validate_json(row["verifier"])
    hooks = _hooks(row["asides"])
    return AttemptFact(
        **same,
        usage=read_usage(row["usage"]),
        judge=judge.model,
        judge_usage=judge.usage,
        judge_cost_usd=judge.cost_usd,
        judge_accepts=judge.accepts,
        accept_at=judge.accept_at,
        started_at=None if row["started_at"] is None else datetime.fromisoformat(row["started_at"]),
        hooks_usage=sum((use.usage for use in hooks), Usage()),
        hooks_cost_usd=total_cost_usd(use.cost_usd for use in hooks),
    )


def _hooks(asides: str) -> list[ModelUse]:
    """Return what models used that hooks asked."""
    if asides == "[]":  # nearly always
        return []
    uses = [ModelUse.model_validate(one) for one in json.loads(asides)]
    return [use for use in uses if use.purpose == "hook"]
