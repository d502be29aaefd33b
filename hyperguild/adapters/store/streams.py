"""Sorted streams of keys out of an index, newest first, however many combinations of values a filter allows.

An index over (skill, …, time, id) holds, for each combination of the values before the time, its rows by
time. There are few combinations: they are found by skipping from one to the next. One stream is read of each
that fits, a few rows at a time, and all are merged: what does not fit is never looked at.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hyperguild.adapters.store.cursors import Key

_FIRST_ROWS, _MOST_ROWS = 4, 512
"""Read of one combination at a time: few at first, for most of them bring nothing to a page."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An index to list by: `columns` make the combinations, rows of one are sorted by `keys`.

    `nullable` is the last of the columns where that may be null.
    """

    table: str
    index: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    nullable: bool = False


RUNS = Listed("runs", "runs_listed", ("skill", "chain", "status"), ("created_at", "run_id"))
ATTEMPTS = Listed(
    "attempts",
    "attempts_listed",
    ("skill", "chain", "model", "tier", "verdict", "label"),
    ("run_created_at", "run_id", "rowid"),
    nullable=True,
)


@dataclass(frozen=True, slots=True)
class Range:
    """Keys after `after` (None: all), of times from `since` to before `until`."""

    after: Key | None = None
    since: str | None = None
    until: str | None = None


def newest_first(
    connection: sqlite3.Connection, listed: Listed, wanted: Sequence[Sequence[Any]], within: Range
) -> Iterator[Key]:
    """Yield the keys of rows whose columns each have a wanted value (none given: any), newest first.

    The connection may be used between two keys, but not written to.
    """
    streams = [
        _one_combination(connection, listed, values, within)
        for values in _combinations(connection, listed, wanted)
    ]
    return heapq.merge(*streams, reverse=True)


def descending(
    connection: sqlite3.Connection, query: str, values: Sequence[Any], keys: Sequence[str], within: Range
) -> Iterator[Key]:
    """Yield the keys that a query (up to its conditions) selects, those within the range, newest first."""
    time, order = keys[0], ", ".join(f"{key} DESC" for key in keys)
    places = ", ".join("?" * len(keys))
    bounds, bound = "", list(values)
    for condition, value in ((f"{time} >= ?", within.since), (f"{time} < ?", within.until)):
        if value is not None:
            bounds += f" AND {condition}"
            bound.append(value)
    after, size = within.after, _FIRST_ROWS
    while True:
        # The time by itself, too: for SQLite to begin there.
        beyond = "" if after is None else f" AND {time} <= ? AND ({', '.join(keys)}) < ({places})"
        start = [] if after is None else [after[0], *after]
        rows = connection.execute(
            f"{query}{bounds}{beyond} ORDER BY {order} LIMIT {size}", [*bound, *start]
        ).fetchall()
        for row in rows:
            after = tuple(row)
            yield after
        if len(rows) < size:
            return
        size = min(size * 2, _MOST_ROWS)


def _one_combination(
    connection: sqlite3.Connection, listed: Listed, values: Key, within: Range
) -> Iterator[Key]:
    fits = " AND ".join(f"{column} IS ?" for column in listed.columns)
    query = f"SELECT {', '.join(listed.keys)} FROM {listed.table} INDEXED BY {listed.index} WHERE {fits}"
    return descending(connection, query, values, listed.keys, within)


def _combinations(
    connection: sqlite3.Connection, listed: Listed, wanted: Sequence[Sequence[Any]]
) -> Iterator[Key]:
    """Yield the combinations of values that rows have, of those that are wanted."""
    found: list[Key] = [()]
    for depth, values in enumerate(wanted):
        last = listed.nullable and depth == len(wanted) - 1
        found = [
            (*combination, value)
            for combination in found
            for value in _next_values(connection, listed, combination, values, nullable=last)
        ]
    yield from found


def _next_values(
    connection: sqlite3.Connection, listed: Listed, before: Key, wanted: Sequence[Any], *, nullable: bool
) -> Iterator[Any]:
    """Yield the values of the column after these, in rows that have these."""
    column = listed.columns[len(before)]
    fits = "".join(f"{name} IS ? AND " for name in listed.columns[: len(before)])
    query = f"SELECT {column} FROM {listed.table} INDEXED BY {listed.index} WHERE {fits}{column}"
    if wanted:
        for value in dict.fromkeys(wanted):
            # `IS ?` alone would not be looked up.
            found = "IS NULL" if value is None else "= ?"
            values = before if value is None else (*before, value)
            if connection.execute(f"{query} {found} LIMIT 1", values).fetchone():
                yield value
        return
    if nullable and connection.execute(f"{query} IS NULL LIMIT 1", before).fetchone():
        yield None
    row = connection.execute(f"{query} > '' ORDER BY {column} LIMIT 1", before).fetchone()
    if row is None and not nullable:
        row = connection.execute(f"{query} = '' LIMIT 1", before).fetchone()
    while row is not None:
        yield row[0]
        row = connection.execute(f"{query} > ? ORDER BY {column} LIMIT 1", (*before, row[0])).fetchone()
