"""Repairs a damaged session log: what can be read goes to a new file, which takes its place.

Everything here blocks. The damaged file is kept beside it, byte for byte.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote

from hyperguild.adapters.store.connection import (
    BUSY_TIMEOUT_S,
    open_for_writing,
    refuse_strangers,
    sync_folder,
    transaction,
    translated,
)
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.store.rows import is_readable, to_time
from hyperguild.adapters.store.salvage import TableSalvage, identifier
from hyperguild.adapters.store.search_index import TABLE
from hyperguild.errors import StoreError

MOST_FAULTS = 20
"""How many faults are listed; one bad page may make thousands."""

_LOCKS_AT, _LOCKS = 0x40000000, 512
"""The bytes that SQLite locks (sqlite.org/fileformat2, "the lock-byte page"): whoever has the file open in
WAL mode holds some of them."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)
_OURS = ("sessions", "runs", "attempts", "steps")
"""In the order in which they refer to each other. Other tables follow."""

_NOT_CARRIED_OVER = ("migrations", "sqlite_", "upkeep", TABLE)
"""How the names begin of tables that a new file has anyway, or makes of the others."""

_TORN_OFF = (
    "SELECT run_id, min(at) FROM (SELECT run_id, started_at AS at FROM attempts"
    " UNION ALL SELECT run_id, created_at FROM steps)"
    " WHERE run_id NOT IN (SELECT run_id FROM runs) GROUP BY run_id"
)

_NEWEST = (
    "UPDATE sessions SET newest_run_id ="
    " (SELECT max(run_id) FROM runs WHERE runs.session_id = sessions.session_id)"
)
"""The newest run of a session may be lost, and sessions that were made up name none."""


@dataclass(frozen=True, slots=True)
class TableRepair:
    """What became of a table: rows in the new file, and rows that are known to be lost."""

    table: str
    recovered: int
    lost: int


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found and done. No `faults`: the log is healthy and nothing was changed.

    `kept_as` is where the damaged file is kept, None where nothing was changed. `stand_ins` counts runs whose
    own row is lost and that were made up, as `interrupted`, for the attempts and steps that are left of them.
    """

    path: Path
    faults: tuple[str, ...] = ()
    tables: tuple[TableRepair, ...] = ()
    stand_ins: int = 0
    kept_as: Path | None = None


def repair(
    path: Path,
    *,
    program_version: str,
    now: datetime,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[Repair], None] = lambda _: None,
) -> Repair:
    """Look the log over and, where it is damaged, put what can be read in its place.

    With `dry_run`, or where it is healthy, nothing is changed. `tell` is called with what was done as soon as
    the new file is in place: a wait of some seconds follows, which may be interrupted. Raises `StoreError`:
    there is no log, nothing of it can be read, another process has it open, or the disk does not allow it;
    then, too, it is as it was. Killed at any moment, it leaves the damaged file in its place, or complete
    beside it.
    """
    with translated(path):
        if not path.is_file() or path.stat().st_size == 0:
            raise StoreError(f"no session log yet at {path}", hint="`hyperguild run` makes it")
        faults = _faults(path, program_version)
        if not faults:
            return Repair(path)
        try:
            if dry_run:
                with tempfile.TemporaryDirectory(prefix="hyperguild-repair-") as folder:
                    tables, stand_ins = _salvage(path, Path(folder, "sessions.db"), program_version, now)
                return Repair(path, faults, tables, stand_ins)
            with _alone_with(path) as damaged:
                done = _replaced(path, damaged, faults, program_version, now)
                tell(done)
                # Who opened the old file meanwhile waits for its lock, and would write to one without a name.
                sleep(BUSY_TIMEOUT_S + 1)
                return done
        except _NothingReadableError as error:
            raise StoreError(
                f"nothing of the session log {path} can be read: {error}",
                hint="put a copy of it in its place, or move it away to begin a new one",
            ) from error


class _NothingReadableError(Exception):
    """Not even the names of the tables."""


def _replaced(
    path: Path, damaged: IO[bytes], faults: tuple[str, ...], program_version: str, now: datetime
) -> Repair:
    kept_as = _put_aside(path, damaged, now)
    fresh = path.with_name(f"{path.name}.repaired")
    _remove(fresh)
    try:
        tables, stand_ins = _salvage(kept_as, fresh, program_version, now)
    except BaseException:
        _remove(fresh)
        _remove(kept_as)
        raise
    _tidy_away(kept_as)
    # Not the other way round: the new file would be read with the write-ahead log of the old one.
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    fresh.replace(path)
    sync_folder(path.parent)
    return Repair(path, faults, tables, stand_ins, kept_as)


def _faults(path: Path, program_version: str) -> tuple[str, ...]:
    """Return what is wrong with the file, none where it is whole. Raises for one that is not ours."""
    try:
        with closing(_connect(path)) as connection:
            refuse_strangers(connection, path, program_version)
            found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST_FAULTS})")]
            if found != ["ok"]:
                return tuple(line for text in found for line in str(text).splitlines())[:MOST_FAULTS]
            present = _tables(connection)
            unreadable = [(table, _count_unreadable(connection, table)) for table in present]
            return tuple(
                f"{table}: {number} {'row' if number == 1 else 'rows'} of which no sense can be made"
                for table, number in unreadable
                if number
            )
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _DAMAGED:
            raise
        return (str(error),)


def _count_unreadable(connection: sqlite3.Connection, table: str) -> int:
    rows = connection.execute(f"SELECT * FROM {identifier(table)}")  # noqa: S608  # quoted
    return sum(not is_readable(table, row) for row in rows)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file that may be damaged, to be read; texts that are none are no fault."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


@contextmanager
def _alone_with(path: Path) -> Iterator[IO[bytes]]:
    """Keep every other process out of the log for the length of the block; yields the open file.

    No other descriptor of the file may be closed in the block: POSIX locks end with the first that is.
    """
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKS, _LOCKS_AT)
        except (BlockingIOError, PermissionError) as error:
            raise StoreError(
                f"the session log {path} is open in another process",
                hint="end the runs and programs that use it, then repair it",
            ) from error
        yield file


def _put_aside(path: Path, damaged: IO[bytes], now: datetime) -> Path:
    """Copy the file and its write-ahead log to names of their own, durably; return the file's."""
    kept_as = path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}")
    _copy(damaged, kept_as)
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        try:
            with log.open("rb") as frames:
                _copy(frames, kept_as.with_name(f"{kept_as.name}-wal"))
        except BaseException:
            kept_as.unlink()
            raise
    sync_folder(path.parent)
    return kept_as


def _copy(source: IO[bytes], target: Path) -> None:
    """Copy a file durably to a new name; where that fails, nothing of it is left."""
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy:
        try:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        except BaseException:
            target.unlink()
            raise


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _tidy_away(read: Path) -> None:
    """Remove what reading has made beside a file: SQLite takes it for one that is in use."""
    read.with_name(f"{read.name}-shm").unlink(missing_ok=True)
    log = read.with_name(f"{read.name}-wal")
    if log.exists() and not log.stat().st_size:
        log.unlink()


def _salvage(
    damaged: Path, fresh: Path, program_version: str, now: datetime
) -> tuple[tuple[TableRepair, ...], int]:
    """Make a new log of what can be read of the damaged one."""
    with closing(_connect(damaged)) as source:
        try:
            source.execute(
                "PRAGMA writable_schema = ON"
            )  # a schema that makes no sense in part is no obstacle
            version = int(source.execute("PRAGMA user_version").fetchone()[0])
            present = {
                row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
        except sqlite3.DatabaseError as error:
            raise _NothingReadableError(str(error)) from error
        # As the damaged one was made, so that rows fit; brought up to date below. 0: it came from a dump.
        migrations = MIGRATIONS[: version or len(MIGRATIONS)]
        with closing(
            open_for_writing(fresh, program_version=program_version, migrations=migrations)
        ) as target:
            target.execute("PRAGMA foreign_keys = OFF")  # rows come before those that they refer to
            with transaction(target, "BEGIN IMMEDIATE"):
                tables = [_carry_over(source, target, table) for table in _tables(target) if table in present]
                stand_ins = _complete(target, now)
    with closing(open_for_writing(fresh, program_version=program_version)) as whole:
        whole.execute(_NEWEST)
    fresh.with_name(f"{fresh.name}.bak-v{version}").unlink(missing_ok=True)
    return tuple(tables), stand_ins


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables whose rows are carried over, those first that others refer to."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    names = [name for (name,) in found if not name.startswith(_NOT_CARRIED_OVER)]
    return [*(name for name in _OURS if name in names), *(name for name in names if name not in _OURS)]


def _carry_over(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> TableRepair:
    wanted = [name for (name,) in target.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    salvage = TableSalvage(source, table)
    recovered = nonsense = 0
    for row in salvage.rows():
        columns = ["rowid", *(name for name in wanted if name in row.keys())]  # noqa: SIM118  # of a Row
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {identifier(table)} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # our names
        if not is_readable(table, row):
            nonsense += 1
            continue
        try:
            target.execute(statement, [row[name] for name in columns])
        except sqlite3.IntegrityError:
            nonsense += 1
        else:
            recovered += 1
    return TableRepair(table, recovered, salvage.lost + nonsense)


def _complete(target: sqlite3.Connection, now: datetime) -> int:
    """Give every row what it belongs to, and end what was running; return how many runs were made up."""
    torn_off = target.execute(_TORN_OFF).fetchall()
    target.executemany(
        "INSERT INTO runs (run_id, session_id, schema_version, skill, chain, status, duration_ms, usage,"
        " images, created_at, lease_expires_at)"
        " VALUES (?1, ?1, 1, 'lost', 'lost', 'interrupted', 0, '{}', 0, coalesce(?2, ?3), ?3)",
        [(run_id, at, to_time(now)) for run_id, at in torn_off],
    )
    target.execute(
        "INSERT INTO sessions (session_id, created_at, title)"
        " SELECT session_id, min(created_at), NULL FROM runs"
        " WHERE session_id NOT IN (SELECT session_id FROM sessions) GROUP BY session_id"
    )
    # Nobody else has the file open: whoever ran is gone, wherever it was.
    target.execute("UPDATE runs SET status = 'interrupted' WHERE status = 'running'")
    return len(torn_off)
