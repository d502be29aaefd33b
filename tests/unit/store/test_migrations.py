"""Opening the file: versions, backups, strangers, faults of the file system."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from hyperguild.adapters.store.connection import open_for_reading, open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS, Migration
from hyperguild.errors import StoreError, StoreVersionError

NEXT = (*MIGRATIONS, Migration("colour", ("ALTER TABLE sessions ADD COLUMN colour TEXT",)))
NEWEST = len(MIGRATIONS)
BROKEN = (*MIGRATIONS, Migration("broken", ("DELETE FROM sessions", "ALTER TABLE nowhere ADD COLUMN x")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def with_data(path: Path) -> Path:
    with closing(open_for_writing(path, program_version="1.0")) as connection:
        connection.execute(
            "INSERT INTO sessions (session_id, created_at, title)"
            " VALUES ('s1', '2026-01-01T00:00:00.000Z', 'precious')"
        )
    return path


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def sessions(path: Path) -> list[tuple[str | None, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM sessions").fetchall()


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_file_has_the_newest_version_and_no_backup(path: Path) -> None:
    with closing(open_for_writing(path, program_version="1.0", migrations=NEXT)) as connection:
        for pragma, expected in (("synchronous", 2), ("foreign_keys", 1), ("journal_mode", "wal")):
            assert connection.execute(f"PRAGMA {pragma}").fetchone()[0] == expected
        rows = connection.execute("SELECT * FROM migrations").fetchall()
        assert [tuple(row)[1] for row in rows] == [one.name for one in NEXT]
    assert version(path) == NEWEST + 1
    assert names(path.parent) == {"sessions.db"}


def test_an_older_file_is_backed_up_then_migrated(with_data: Path) -> None:
    open_for_writing(with_data, program_version="2.0", migrations=NEXT).close()
    backup = with_data.with_name(f"sessions.db.bak-v{NEWEST}")
    assert sessions(with_data) == [("s1", "2026-01-01T00:00:00.000Z", "precious", None, None)]
    assert sessions(backup) == [("s1", "2026-01-01T00:00:00.000Z", "precious", None)]
    assert (version(with_data), version(backup)) == (NEWEST + 1, NEWEST)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    open_for_writing(with_data, program_version="2.0", migrations=NEXT).close()
    assert names(with_data.parent) == {"sessions.db", f"sessions.db.bak-v{NEWEST}"}


def test_the_backup_holds_what_is_still_in_the_write_ahead_log(with_data: Path) -> None:
    with closing(sqlite3.connect(with_data)) as other:
        other.execute("INSERT INTO sessions (session_id, created_at, title) VALUES ('s2', '', 'in the log')")
        other.commit()
        assert with_data.with_name("sessions.db-wal").stat().st_size > 0
        open_for_writing(with_data, program_version="2.0", migrations=NEXT).close()
    assert [row[0] for row in sessions(with_data.with_name(f"sessions.db.bak-v{NEWEST}"))] == ["s1", "s2"]


def test_tables_brought_back_from_a_dump_are_kept(with_data: Path) -> None:
    with closing(sqlite3.connect(with_data)) as connection:
        connection.execute("PRAGMA user_version = 0")
    open_for_writing(with_data, program_version="1.0").close()
    assert version(with_data) == NEWEST
    assert sessions(with_data)[0][2] == "precious"
    assert "sessions.db.bak-v0" in names(with_data.parent)


def test_a_migration_that_fails_changes_nothing(with_data: Path) -> None:
    with pytest.raises(StoreError, match="refused a statement: no such table: nowhere"):
        open_for_writing(with_data, program_version="2.0", migrations=BROKEN)
    assert version(with_data) == NEWEST
    assert sessions(with_data) == [("s1", "2026-01-01T00:00:00.000Z", "precious", None)]


def test_a_newer_file_names_both_versions_and_programs(with_data: Path) -> None:
    open_for_writing(with_data, program_version="2.0", migrations=NEXT).close()
    for opener in (open_for_writing, open_for_reading):
        with pytest.raises(StoreVersionError) as error:
            opener(with_data, program_version="1.0")
        assert error.value.message == (
            f"the session log {with_data} has version {NEWEST + 1} (hyperguild 2.0); "
            f"this is hyperguild 1.0, which knows versions up to {NEWEST}"
        )


def test_reading_brings_an_older_file_up_to_date(with_data: Path) -> None:
    with closing(sqlite3.connect(with_data)) as connection:
        connection.execute("PRAGMA user_version = 0")
    with closing(open_for_reading(with_data, program_version="1.0")) as connection:
        assert connection.execute("SELECT title FROM sessions").fetchone()[0] == "precious"
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM sessions")
    assert version(with_data) == NEWEST


def test_the_file_of_another_program_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    for opener in (open_for_writing, open_for_reading):
        with pytest.raises(StoreError, match="another program"):
            opener(path, program_version="1.0")
    assert path.read_bytes() == before


def test_an_empty_file_is_no_log_yet(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError, match="no session log yet"):
        open_for_reading(path, program_version="1.0")
    open_for_writing(path, program_version="1.0").close()
    assert version(path) == NEWEST


def test_many_that_migrate_at_once_do_it_once(with_data: Path) -> None:
    barrier, faults = threading.Barrier(8), list[BaseException]()

    def migrate() -> None:
        barrier.wait()
        try:
            open_for_writing(with_data, program_version="2.0", migrations=NEXT).close()
        except StoreError as error:
            faults.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert version(with_data) == NEWEST + 1
    assert version(with_data.with_name(f"sessions.db.bak-v{NEWEST}")) == NEWEST


def test_a_lock_that_is_not_given_up(with_data: Path) -> None:
    with closing(sqlite3.connect(with_data, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            open_for_writing(with_data, program_version="2.0", migrations=NEXT, busy_timeout_s=0.05)


def test_switching_to_wal_waits_for_others(path: Path) -> None:
    slept: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE runs (x)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM runs").fetchall()
        with pytest.raises(StoreError, match="locked by another program"):
            open_for_writing(path, program_version="1.0", busy_timeout_s=0.03, sleep=slept.append)
    assert slept == [0.01, 0.01, 0.01]


@pytest.mark.parametrize("folder", ["/proc/hyperguild", "/dev/null/folder"])
def test_a_folder_that_cannot_be_made(folder: str) -> None:
    with pytest.raises(StoreError, match="cannot be used: ") as error:
        open_for_writing(Path(folder, "sessions.db"), program_version="1.0")
    assert "--db" in str(error.value.hint)


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    for opener, message in (
        (open_for_writing, "cannot be written or opened"),
        (open_for_reading, "no session log yet"),
    ):
        with pytest.raises(StoreError, match=message):
            opener(tmp_path, program_version="1.0")


def test_steps_of_the_first_version_are_kept_and_belong_to_their_run(path: Path) -> None:
    with (
        closing(open_for_writing(path, program_version="1.0", migrations=MIGRATIONS[:1])) as connection,
        connection,
    ):
        connection.execute("INSERT INTO sessions (session_id, created_at) VALUES ('s', 't')")
        connection.execute(
            "INSERT INTO runs (run_id, session_id, skill, chain, status, images, duration_ms, usage,"
            " schema_version, created_at, lease_expires_at)"
            " VALUES ('r', 's', 'x', 'y', 'accepted', 0, 0, '{}', 1, 't', 't')"
        )
        connection.execute(
            "INSERT INTO attempts (attempt_id, run_id, position, model, tier, endpoint, warm_start,"
            " duration_ms, verdict, feedback, answer, retries, checks, usage, verifier)"
            " VALUES ('a', 'r', 0, 'm', 'local', 'e', 0, 0, 'accept', '', 'yes', 0, '[]', '{}', '{}')"
        )
        connection.execute("INSERT INTO steps VALUES ('one', 'a', 0, '[1]', '{}', NULL, 7, '[]', 't')")
    with closing(open_for_writing(path, program_version="2.0")) as connection:
        row = connection.execute(
            "SELECT run_id, attempt_id, kind, anew, messages, duration_ms FROM steps"
        ).fetchone()
    assert tuple(row) == ("r", "a", "step", 1, "[1]", 7)
