"""Opens the database file: folder, permissions, pragmas, migrations; and says in one line what went wrong.

Everything here blocks and belongs in the store's own thread.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from hyperguild.adapters.store.migrations import MIGRATIONS, Migration
from hyperguild.adapters.store.search_index import is_kept, keep_index
from hyperguild.errors import StoreError, StoreVersionError
from hyperguild.private_folder import make_private

BUSY_TIMEOUT_S = 5.0
"""How long another process's write is waited for. A transaction here takes milliseconds."""

_WAL_RETRY_S = 0.01

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def open_for_writing(
    path: Path,
    *,
    program_version: str,
    migrations: Sequence[Migration] = MIGRATIONS,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> sqlite3.Connection:
    """Open the database, made new or brought up to date where needed.

    A new file gets mode 0600, new folders 0700; what exists keeps its permissions. Before migrations run on
    a file that holds tables, it is copied to `NAME.bak-vN` beside it, N the version it had. Several processes
    may do this at once. Raises `StoreError`, and `StoreVersionError` for a file of a newer program.
    """
    with translated(path):
        _create(path)
        connection = _connect(str(path), uri=False, busy_timeout_s=busy_timeout_s)
        try:
            _check_version(connection, path, program_version, newest=len(migrations))
            _write_ahead(connection, busy_timeout_s, sleep)
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted (keep_days) is overwritten, not just unlinked.
            connection.execute("PRAGMA secure_delete = ON")
            # A dump holds the tables of the text index in a form that may not come back whole.
            from_dump = _version(connection) == 0 and bool(_tables(connection))
            _migrate(connection, path, program_version, migrations)
            if migrations is MIGRATIONS and not is_kept(connection, anew=from_dump):
                with transaction(connection, "BEGIN IMMEDIATE"):
                    keep_index(connection, anew=from_dump)
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path, *, program_version: str) -> sqlite3.Connection:
    """Open an existing database without writing to it; one of an older version is first brought up to date.

    Works on a read-only medium as long as no writer left a write-ahead log there. Raises `StoreError`, also
    where there is no log yet, and `StoreVersionError`.
    """
    with translated(path):
        if not path.is_file() or path.stat().st_size == 0:
            raise StoreError(f"no session log yet at {path}", hint="`hyperguild run` makes it")
        connection = connect_read_only(path)
        try:
            version = _check_version(connection, path, program_version, newest=len(MIGRATIONS))
        except BaseException:
            connection.close()
            raise
        if version == len(MIGRATIONS):
            return connection
        connection.close()
        open_for_writing(path, program_version=program_version).close()
        return connect_read_only(path)


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Run the block in one transaction begun with `begin`; rolled back when anything is raised."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite and the file system say as a `StoreError` of one line with a hint."""
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(error, path) from error
    except OSError as error:
        raise StoreError(
            f"the session log {path} cannot be used: {error.strerror or error}",
            hint="name another file with --db or $HYPERGUILD_DB",
        ) from error


def _store_error(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _LOCKED:
        return StoreError(
            f"the session log {path} is locked by another program",
            hint="close programs that hold it open for writing, such as an sqlite3 shell or a backup",
        )
    if code in _FORBIDDEN:
        return StoreError(
            f"the session log {path} cannot be written or opened: {error}",
            hint="check the permissions of the file and its folder, or name another file with --db",
        )
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return StoreError(f"no room left for the session log {path}", hint="free disk space, or use --db")
    if code in _DAMAGED:
        return StoreError(
            f"the session log {path} is damaged, or not an SQLite file: {error}",
            hint="`hyperguild sessions repair` saves what can be read; to begin a new one, name it with --db",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"the disk of the session log {path} failed: {error}", hint="check the disk, or use --db"
        )
    return StoreError(
        f"the session log {path} refused a statement: {error}",
        hint="this is a fault of hyperguild, or of a tool that changed the file; --debug shows where",
    )


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free == 0
    except OSError:
        return False


def _create(path: Path) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    make_private(path.parent)
    for folder in reversed(missing):
        sync_folder(folder.parent)
    # O_EXCL, so that no descriptor of an existing file is closed: that would drop the POSIX locks that
    # SQLite holds on it for other connections of this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make durable that a file is in its folder; SQLite does so for its journals alone.

    Some file systems know no such thing, and say so.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _connect(database: str, *, uri: bool, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(database, uri=uri, timeout=busy_timeout_s, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open an existing database to be read, whatever is in it. Raises what SQLite does.

    Works on a read-only medium as long as no writer left a write-ahead log there.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = _connect(uri, uri=True, busy_timeout_s=BUSY_TIMEOUT_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if error.sqlite_errorcode & 0xFF not in _FORBIDDEN or (log.exists() and log.stat().st_size):
            raise
        # A read-only medium, on which no lock file can be made: nobody else writes there either.
        return _connect(f"{uri}&immutable=1", uri=True, busy_timeout_s=BUSY_TIMEOUT_S)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _check_version(connection: sqlite3.Connection, path: Path, program_version: str, *, newest: int) -> int:
    """Return the file's version; refuse files of newer programs, and of other ones."""
    tables = _tables(connection)
    if tables and not tables & {"sessions", "runs"}:
        raise StoreError(
            f"{path} is an SQLite file of another program",
            hint="name another file with --db or $HYPERGUILD_DB",
        )
    version = _version(connection)
    if version > newest:
        raise StoreVersionError(
            f"the session log {path} has version {version}{_writer(connection, tables)}; "
            f"this is hyperguild {program_version}, which knows versions up to {newest}",
            hint="upgrade hyperguild, or name another file with --db",
        )
    return version


def refuse_strangers(connection: sqlite3.Connection, path: Path, program_version: str) -> None:
    """Raise `StoreError` for the file of another program, `StoreVersionError` for one of a newer version."""
    _check_version(connection, path, program_version, newest=len(MIGRATIONS))


def _writer(connection: sqlite3.Connection, tables: set[str]) -> str:
    if "migrations" not in tables:
        return ""
    row = connection.execute("SELECT program_version FROM migrations ORDER BY number DESC LIMIT 1").fetchone()
    return f" (hyperguild {row[0]})" if row else ""


def _write_ahead(
    connection: sqlite3.Connection, busy_timeout_s: float, sleep: Callable[[float], None]
) -> None:
    """Switch to WAL. SQLite does not wait of itself where two connections switch at once."""
    for tries_left in reversed(range(int(busy_timeout_s / _WAL_RETRY_S) + 1)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _LOCKED or not tries_left:
                raise
            sleep(_WAL_RETRY_S)
        else:
            return


def _migrate(
    connection: sqlite3.Connection, path: Path, program_version: str, migrations: Sequence[Migration]
) -> None:
    if _version(connection) == len(migrations):
        return
    with transaction(connection, "BEGIN IMMEDIATE"):
        # Asked again, now under the write lock: another process may have done it, even a newer program.
        version = _check_version(connection, path, program_version, newest=len(migrations))
        if version < len(migrations) and _tables(connection):
            _back_up(path, path.with_name(f"{path.name}.bak-v{version}"))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations"
            " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, program_version TEXT NOT NULL)"
        )
        for number, migration in enumerate(migrations[version:], start=version + 1):
            done = migration.done is not None and connection.execute(migration.done).fetchone() is not None
            for statement in () if done else migration.statements:
                connection.execute(statement)
            connection.execute(
                "INSERT OR REPLACE INTO migrations VALUES (?, ?, ?)",
                (number, migration.name, program_version),
            )
            connection.execute(f"PRAGMA user_version = {number}")


def _back_up(path: Path, target: Path) -> None:
    """Copy the database; the target appears whole or not at all, and replaces an older one."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # A connection of its own, which sees what is committed: SQLite refuses to copy from one that writes.
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    partial.replace(target)
    sync_folder(target.parent)
