"""Exports attempts as Parquet, one a row with the columns of its run, through pyarrow (extra `review`)."""

from __future__ import annotations

from typing import Any, BinaryIO

from hyperguild.cli.labelled import LabelledRun
from hyperguild.domain.records import Attempt
from hyperguild.errors import UsageError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise UsageError("Parquet needs pyarrow", hint="pip install 'hyperguild[review]'") from error

ROWS_AT_ONCE = 1000
"""Rows of a row group: what is held in memory."""

_TIME = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("session_id", pa.string()),
        ("parent_run_id", pa.string()),
        ("skill", pa.string()),
        ("chain", pa.string()),
        ("status", pa.string()),
        ("task", pa.string()),
        ("run_created_at", _TIME),
        ("run_finished_at", _TIME),
        ("run_duration_ms", pa.int64()),
        ("run_cost_usd", pa.float64()),
        ("attempt_id", pa.string()),
        ("position", pa.int32()),
        ("model", pa.string()),
        ("tier", pa.string()),
        ("endpoint", pa.string()),
        ("warm_state", pa.string()),
        ("verdict", pa.string()),
        ("cause", pa.string()),
        ("score", pa.float64()),
        ("label", pa.string()),
        ("feedback", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("error_kind", pa.string()),
        ("checks_failed", pa.list_(pa.string())),
        ("retries", pa.int32()),
        ("started_at", _TIME),
        ("duration_ms", pa.int64()),
        ("load_ms", pa.int64()),
        ("first_token_ms", pa.int64()),
        ("verify_ms", pa.int64()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cached_input_tokens", pa.int64()),
        ("cache_write_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("judge", pa.string()),
        ("judge_input_tokens", pa.int64()),
        ("judge_output_tokens", pa.int64()),
        ("judge_cost_usd", pa.float64()),
    ]
)
"""Columns are named as in the result object; those of the run that an attempt has too begin with `run_`."""

_OF_ATTEMPT = (
    *("attempt_id", "position", "model", "tier", "endpoint", "warm_state", "verdict", "cause", "score"),
    *("feedback", "answer", "finish_reason", "retries", "started_at", "duration_ms", "load_ms"),
    *("first_token_ms", "verify_ms", "cost_usd"),
)


class ParquetWriter:
    """One row for each attempt. A run without attempts has none."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, run: LabelledRun) -> None:
        """Take the attempts of a run."""
        self._rows += [_row(run, attempt) for attempt in run.stored.result.attempts]
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> list[str]:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()
        return []

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []


def _row(run: LabelledRun, attempt: Attempt) -> dict[str, Any]:
    stored, result, judge = run.stored, run.stored.result, attempt.verifier
    return {
        **{name: getattr(result, name) for name in ("run_id", "session_id", "skill", "chain", "status")},
        "parent_run_id": stored.parent_run_id,
        "task": stored.task,
        "run_created_at": stored.created_at,
        "run_finished_at": stored.finished_at,
        "run_duration_ms": result.duration_ms,
        "run_cost_usd": result.cost_usd,
        **{name: getattr(attempt, name) for name in _OF_ATTEMPT},
        "label": run.label_of(attempt),
        "error_kind": attempt.error.kind if attempt.error is not None else None,
        "checks_failed": [check.kind for check in attempt.checks if not check.passed],
        **attempt.usage.model_dump(),
        "judge": judge.model,
        "judge_input_tokens": judge.usage.input_tokens,
        "judge_output_tokens": judge.usage.output_tokens,
        "judge_cost_usd": judge.cost_usd,
    }
