"""The breakers' table. But for `peek_breakers`, all runs in the store's thread, in its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from hyperguild.adapters.store.rows import Row, storable, to_time
from hyperguild.domain.breakers import BreakerRecord

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

    None where there is no file, where it is older than breakers are, and where it cannot be read. In the
    caller's own thread.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return read_breakers(connection)
    except (sqlite3.Error, ValueError):
        return []


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
