"""Reads what can be read of a damaged database, row by row.

A table is read from both ends up to the damage; what lies between is asked for one row at a time, by the row
numbers that its indexes still hold. Everything here blocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator

ASKED_FOR_SINGLY = 1_000_000
"""The widest gap whose row numbers are all tried: some seconds. Of a wider one, those that an index names."""

BEYOND_THE_LAST = 10_000
"""How far beyond the last known row is tried where the end of a table and of its indexes is damaged."""


def identifier(name: str) -> str:
    """Return a name as SQL takes it, whatever is in it: a file may hold tables and indexes of others."""
    return '"' + name.replace('"', '""') + '"'


class TableSalvage:
    """One table of a damaged database; `rows` yields each readable row once, then `lost` is known.

    `connection` returns `sqlite3.Row`s; `table` is a rowid table.
    """

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._connection = connection
        self._table = identifier(table)
        self._name = table
        self._known: set[int] = set()
        self._read: set[int] = set()
        self._all_named = False

    @property
    def lost(self) -> int:
        """How many rows an index names that could not be read; there may be more that none names."""
        return len(self._known - self._read)

    def rows(self) -> Iterator[sqlite3.Row]:
        """Yield the rows with their `rowid` as the first column, in no certain order."""
        broken = yield from self._from_an_end("ASC")
        if not broken:
            return
        last = max(self._read, default=0)
        before = len(self._read)
        yield from self._from_an_end("DESC")
        self._known = self._named_by_indexes()
        if len(self._read) > before:
            end = min(rowid for rowid in self._read if rowid > last)
        else:
            end = max(self._known, default=last) + (1 if self._all_named else BEYOND_THE_LAST)
        gap = range(last + 1, end)
        between = gap if len(gap) <= ASKED_FOR_SINGLY else sorted(self._known)
        for rowid in between:
            if rowid not in self._read:
                yield from self._single(rowid)

    def _from_an_end(self, order: str) -> Generator[sqlite3.Row, None, bool]:
        """Yield rows up to the first that cannot be read, or was read; return whether there was a fault."""
        query = f"SELECT rowid, * FROM {self._table} ORDER BY rowid {order}"  # noqa: S608  # our own names
        before: int | None = None
        try:
            for row in self._connection.execute(query):
                rowid = row[0]
                if rowid in self._read:
                    return True
                if before is not None and (rowid < before) == (order == "ASC"):
                    return True  # pages that lead in a circle
                before = rowid
                self._read.add(rowid)
                yield row
        except sqlite3.DatabaseError:
            return True
        return False

    def _single(self, rowid: int) -> Iterator[sqlite3.Row]:
        query = f"SELECT rowid, * FROM {self._table} WHERE rowid = ?"  # noqa: S608  # our own names
        try:
            row = self._connection.execute(query, (rowid,)).fetchone()
        except sqlite3.DatabaseError:
            return
        if row is not None:
            self._read.add(rowid)
            yield row

    def _named_by_indexes(self) -> set[int]:
        found: set[int] = set()
        for name in self._names("SELECT name FROM pragma_index_list(?)", self._name):
            columns = self._names("SELECT name FROM pragma_index_info(?)", name)
            if None in columns:
                continue  # an index over an expression, which is none of ours
            for order in ("ASC", "DESC"):
                by = ", ".join(f"{identifier(column)} {order}" for column in columns if column is not None)
                index = identifier(name or "")
                query = f"SELECT rowid FROM {self._table} INDEXED BY {index} ORDER BY {by}"  # noqa: S608
                broken = self._take_numbers(query, found)
                self._all_named = self._all_named or not broken
        return found

    def _names(self, query: str, of: str | None) -> list[str | None]:
        try:
            return [name for (name,) in self._connection.execute(query, (of,))]
        except sqlite3.DatabaseError:
            return []

    def _take_numbers(self, query: str, found: set[int]) -> bool:
        """Take row numbers up to the first fault; return whether there was one."""
        seen: set[int] = set()
        try:
            for (rowid,) in self._connection.execute(query):
                if rowid in seen:
                    return True  # pages that lead in a circle
                seen.add(rowid)
        except sqlite3.DatabaseError:  # also where the index is a partial one, which names but some rows
            return True
        finally:
            found |= seen
        return False
