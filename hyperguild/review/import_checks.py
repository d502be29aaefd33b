"""What a run from a file must be, beyond its shape, for the session log to hold it: readers rely on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from hyperguild.domain.review import ImportedRun

LARGEST = 2**53
"""Whole numbers up to this one pass through SQLite, JSON and floating point as they are; real counts do."""

YEARS = range(1970, 9999)
"""Ids begin in 1970; of 9999 a time zone may make a year that is none."""

SHARES = frozenset({"score", "accept_at"})


def check_run(run: ImportedRun) -> None:
    """Refuse ids, numbers and times that a log cannot have. Raises `ValueError` that names the field."""
    result = run.run.result
    for record in (run.run, *run.labels):
        for name, value in _fields(record):
            _check_value(name.removeprefix("result."), value)
    for name, one in _ids(run):
        _check_id(name, one)
    own = [attempt.attempt_id for attempt in result.attempts]
    for name, ids in (
        ("attempt_id", own),
        ("step_id", [step.step_id for step in run.run.steps]),
        ("label_id", [label.label_id for label in run.labels]),
    ):
        if len(set(ids)) < len(ids):
            raise ValueError(f"{name}: two have the same")
    if result.best_attempt_id not in {None, *own}:
        raise ValueError("best_attempt_id: not an attempt of this run")
    if not {step.attempt_id for step in run.run.steps} <= set(own):
        raise ValueError("steps: one is of an attempt that is not of this run")
    # Ids sort by age: a run is younger than who delegated it, so that there are no circles.
    if run.run.parent_run_id is not None and run.run.parent_run_id >= result.run_id:
        raise ValueError("parent_run_id: not older than the run")


def _fields(record: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the plain values of a record and of those within it; what is kept as JSON is not looked at."""
    for name, value in record:
        within = value if isinstance(value, tuple) else (value,)
        for one in within:
            if isinstance(one, BaseModel):
                yield from _fields(one, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", one


def _check_value(name: str, value: object) -> None:
    match value:
        case bool():
            pass
        case int() | float():
            if not (math.isfinite(value) and 0 <= value <= LARGEST):
                raise ValueError(f"{name}: out of range")
            if name.rpartition(".")[2] in SHARES and value > 1:
                raise ValueError(f"{name}: not between 0 and 1")
        case datetime():
            if value.utcoffset() is None or value.year not in YEARS:
                raise ValueError(f"{name}: no time with a time zone between 1970 and 9998")
        case _:
            pass


def _ids(run: ImportedRun) -> Iterator[tuple[str, str]]:
    result = run.run.result
    yield "run_id", result.run_id
    yield "session_id", result.session_id
    if run.run.parent_run_id is not None:
        yield "parent_run_id", run.run.parent_run_id
    for attempt in result.attempts:
        yield "attempt_id", attempt.attempt_id
    for step in run.run.steps:
        yield "step_id", step.step_id
    for label in run.labels:
        yield "label_id", label.label_id


def _check_id(name: str, value: str) -> None:
    try:
        is_one = str(UUID(value)) == value
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(f"{name}: no UUID in lower case")
