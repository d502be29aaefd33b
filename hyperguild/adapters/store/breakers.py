"""The breakers' table. But for `peek_breakers`, all runs in the store's thread, in its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from hyperguild.adapters.store.connection import connect_read_only, translated
from hyperguild.adapters.store.rows import Row, storable, to_time
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.errors import StoreError

FORGOTTEN_AFTER = timedelta(days=2)
"""A breaker that nobody has touched for so long is of a server that nobody uses; none stays open for longer
than the day that a server may ask for."""

_COLUMNS = tuple(BreakerRecord.model_fields)


def read_breakers(connection: sqlite3.Connection) -> list[BreakerRecord]:
    """Return what is kept, by endpoint and model. Raises `ValueError` for a row that cannot be read."""
    rows = connection.execute("SELECT * FROM breakers ORDER BY endpoint, model").fetchall()
    return [BreakerRecord(**{column: row[column] for column in _COLUMNS}) for row in rows]


def peek_breakers(path: Path) -> list[BreakerRecord]:
    """Return what the file keeps, and leave it as it is: an older one is not brought up to date.

    None where there is no file, and where it is older than breakers are. In the caller's own thread. Raises
    `StoreError` where it cannot be read.
    """
    with translated(path):
        if not path.is_file() or path.stat().st_size == 0:
            return []
        with closing(connect_read_only(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'breakers'").fetchone() is None:
                return []
            try:
                return read_breakers(connection)
            except ValueError as error:
                raise StoreError(
                    f"no sense can be made of the breakers in the session log {path}",
                    hint="`hyperguild sessions repair` saves what can be read",
                ) from error


def keep_breakers(
    connection: sqlite3.Connection, rows: Sequence[Row], gone: Sequence[str], now: datetime
) -> None:
    """Write these rows, delete those of the keys that are `gone`, and those of long ago."""
    connection.executemany("DELETE FROM breakers WHERE key = ?", [(key,) for key in gone])
    connection.execute("DELETE FROM breakers WHERE changed_at < ?", (to_time(now - FORGOTTEN_AFTER),))
    values = ", ".join(f":{column}" for column in _COLUMNS)
    # The columns are those of the record, never from outside.
    statement = f"INSERT OR REPLACE INTO breakers ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608
    connection.executemany(statement, [storable(row) for row in rows])
