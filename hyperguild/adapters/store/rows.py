"""Between records and rows: what the log policy leaves out, what is scrubbed, how values are written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from hyperguild.adapters.store.liveness import ProcessId
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunResult, RunStart, SessionSummary, Step, StoredRun
from hyperguild.domain.secrets import LITERAL, Scrubber, placeholders_in
from hyperguild.domain.text import encodable
from hyperguild.domain.usage import Usage

Row = dict[str, Any]
_R = TypeVar("_R", bound=BaseModel)

_TITLE_CHARS = 80
_JSON_OF_ATTEMPT = ("checks", "error", "usage", "verifier", "asides")
_JSON_OF_STEP = ("messages", "usage", "pending_tool_calls")


def to_json(value: Any) -> str:
    """Write JSON: compact, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_time(moment: datetime) -> str:
    """Write a time as `2026-01-31T12:00:00.000Z`; such texts sort by age."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def storable(row: Row) -> Row:
    """Replace what has no UTF-8 form (lone surrogates, from input that was no text) by question marks."""
    return {column: encodable(value) if isinstance(value, str) else value for column, value in row.items()}


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Turns records into rows, by column name.

    `metadata` leaves out what quotes prompts or answers, a run's options among it; `none` also what may quote
    them in passing: feedback and the messages of checks and errors. All text that remains is scrubbed.
    """

    scrubber: Scrubber
    policy: LogPolicy

    def run(self, run: RunStart, process: ProcessId) -> Row:
        """Return the row of a run that begins; its result is empty so far."""
        blank = RunResult(
            run_id=run.run_id, session_id=run.session_id, skill=run.skill, chain=run.chain, status="running"
        )
        row = blank.model_dump(mode="json", exclude={"attempts"})
        return row | {
            "usage": _dumped(blank.usage),
            "pending_tool_calls": "[]",
            "task": self._content(run.task),
            "images": run.images,
            "options": to_json(self.scrubber.scrub_json(run.options) if self._is_full else {}),
            "parent_run_id": run.parent_run_id,
            "created_at": to_time(run.created_at),
            "lease_expires_at": to_time(run.lease_expires_at),
            "pid": process.pid,
            "host": process.host,
            "process_started": process.started,
        }

    def breaker(self, record: BreakerRecord) -> Row:
        """Return the row of a breaker; its times sort by age."""
        row = record.model_dump()
        row["error"] = self._remark(record.error)
        return {
            column: to_time(value) if isinstance(value, datetime) else value for column, value in row.items()
        }

    def title(self, task: str) -> str | None:
        """Return the first line of the task, cut; scrubbed before, for half a key has no shape."""
        return title_of(self._content(task))

    def result(self, result: RunResult, finished_at: datetime) -> Row:
        """Return the columns that the end of a run settles."""
        row = result.model_dump(
            mode="json",
            include={
                "status",
                "model",
                "tier",
                "duration_ms",
                "best_attempt_id",
                "cost_usd",
                "schema_version",
            },
        )
        return row | {
            "output": self._content(result.output),
            "usage": _dumped(result.usage),
            "pending_tool_calls": to_json(self._calls(result.pending_tool_calls)),
            "speculation": None if result.speculation is None else to_json(result.speculation.model_dump()),
            "finished_at": to_time(finished_at),
        }

    def attempt(self, run_id: str, attempt: Attempt) -> Row:
        """Return the row of an attempt."""
        row = attempt.model_dump(mode="json")
        row["run_id"] = run_id
        row["answer"] = self._content(attempt.answer) or ""
        row["feedback"] = self._remark(attempt.feedback)
        row["checks"] = [check | {"message": self._remark(check["message"])} for check in row["checks"]]
        if attempt.error is not None:
            row["error"]["message"] = self._remark(attempt.error.message)
        for column in _JSON_OF_ATTEMPT:
            row[column] = None if row[column] is None else to_json(row[column])
        row["started_at"] = to_time(attempt.started_at) if attempt.started_at else None
        return row

    def step(self, run_id: str, step: Step) -> Row:
        """Return the row of a step."""
        row = step.model_dump(mode="json")
        row["run_id"] = run_id
        row["messages"] = self._calls(_told_apart(message) for message in row["messages"])
        row["pending_tool_calls"] = self._calls(row["pending_tool_calls"])
        for column in _JSON_OF_STEP:
            row[column] = to_json(row[column])
        row["created_at"] = to_time(step.created_at)
        return row

    @property
    def _is_full(self) -> bool:
        return self.policy.content == "full"

    def _calls(self, records: Iterable[Row]) -> list[Any]:
        """Return messages or calls as they may be stored."""
        return [self.scrubber.scrub_json(record) for record in records] if self._is_full else []

    def _content(self, text: str | None) -> str | None:
        return self.scrubber.scrub(text) if text is not None and self._is_full else None

    def _remark(self, text: str) -> str:
        return "" if self.policy.content == "none" else self.scrubber.scrub(text)


def title_of(stored_task: str | None) -> str | None:
    """Return the first line of a task as it is stored, cut."""
    lines = stored_task.strip().splitlines() if stored_task else []
    return lines[0][:_TITLE_CHARS].rstrip() if lines else None


def _told_apart(message: Row) -> Row:
    """Name the placeholders that stand in a message before it is scrubbed: no secrets are behind those."""
    literal = placeholders_in(message)
    return {**message, LITERAL: list(literal)} if literal else message


def read_usage(text: str) -> Usage:
    """Read a usage column."""
    return Usage.model_validate_json(text)


def read_run(
    row: sqlite3.Row, status: str, attempts: Sequence[sqlite3.Row], steps: Sequence[sqlite3.Row]
) -> StoredRun:
    """Build a run from its rows; `status` is what is shown in place of the stored one.

    Raises `ValueError` (pydantic's and json's are ones) where a row does not hold what it should.
    """
    fields = {name: row[name] for name in RunResult.model_fields if name != "attempts"}
    pending = json.loads(row["pending_tool_calls"])
    fields |= {"status": status, "usage": json.loads(row["usage"]), "pending_tool_calls": pending}
    fields["speculation"] = json.loads(row["speculation"] or "null")
    result = RunResult(**fields, attempts=tuple(_read(Attempt, item, _JSON_OF_ATTEMPT) for item in attempts))
    return StoredRun(
        result=result,
        task=row["task"],
        images=row["images"],
        options=json.loads(row["options"]),
        parent_run_id=row["parent_run_id"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        steps=tuple(_read(Step, item, _JSON_OF_STEP) for item in steps),
    )


def is_readable(table: str, row: sqlite3.Row) -> bool:
    """Tell whether sense can be made of a row of the log; of other tables than the log's, always."""
    try:
        match table:
            case "sessions":
                SessionSummary(**{name: row[name] for name in ("session_id", "created_at", "title")})
            case "runs":
                read_run(row, row["status"], (), ())
            case "attempts":
                _read(Attempt, row, _JSON_OF_ATTEMPT)
            case "steps":
                _read(Step, row, _JSON_OF_STEP)
            case "breakers":
                BreakerRecord(**{name: row[name] for name in BreakerRecord.model_fields})
    except ValueError:
        return False
    except IndexError:  # a file of an older version, which has fewer columns
        return True
    return True


def _dumped(usage: Usage) -> str:
    return to_json(usage.model_dump())


def _read(record: type[_R], row: sqlite3.Row, nested: Sequence[str]) -> _R:
    fields = {name: row[name] for name in record.model_fields}
    return record(**fields | {name: json.loads(fields[name] or "null") for name in nested})
