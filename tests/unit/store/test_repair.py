"""A damaged session log: what can be read is saved, and the damaged file is kept."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from damaged_logs import ATTEMPTS, PAGE, RUNS, fill, make_log, pages_of, spoil

from hyperguild.adapters.store.connection import BUSY_TIMEOUT_S, open_for_reading, open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.store.repair import Repair, repair
from hyperguild.cli.main import run_command_line
from hyperguild.errors import StoreError, StoreVersionError

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_log(tmp_path / "sessions.db")


def repaired(path: Path, **options: Any) -> Repair:
    slept: list[float] = []
    done = repair(path, program_version="1.0", now=NOW, sleep=slept.append, **options)
    assert all(pause > BUSY_TIMEOUT_S for pause in slept)
    return done


def column(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(query)]


def is_whole(path: Path) -> bool:
    whole: list[Any] = column(path, "PRAGMA integrity_check")
    return whole == ["ok"] and column(path, "PRAGMA foreign_key_check") == []


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_healthy_log_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    assert repaired(path) == Repair(path)
    assert path.read_bytes() == before


def test_a_bad_page_costs_the_rows_on_it(path: Path) -> None:
    leaves = pages_of(path, "attempts")
    assert len(leaves) > 20
    for number in (leaves[3], leaves[9]):
        spoil(path, number)
    damaged = path.read_bytes()
    done = repaired(path)
    assert done.faults
    tables = {one.table: one for one in done.tables}
    attempts = tables["attempts"]
    assert 0 < attempts.lost <= 2 * 4
    assert attempts.recovered + attempts.lost == ATTEMPTS
    assert (tables["runs"].recovered, tables["steps"].recovered) == (RUNS, ATTEMPTS)
    assert done.kept_as is not None
    assert done.kept_as.read_bytes() == damaged
    assert stat.S_IMODE(done.kept_as.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(path.parent) == {path.name, done.kept_as.name}
    assert is_whole(path)
    found = column(path, "SELECT attempt_id FROM attempts ORDER BY rowid")
    assert found == sorted(found, key=lambda name: int(name.split("-")[1]))
    assert len(found) == attempts.recovered
    # What ran is over, and the log can be written again.
    assert column(path, "SELECT DISTINCT status FROM runs ORDER BY 1") == ["accepted", "interrupted"]
    open_for_writing(path, program_version="1.0").close()
    assert repaired(path) == Repair(path)


@pytest.mark.parametrize("which", [0, -1])
def test_the_first_and_the_last_page_of_a_table(path: Path, which: int) -> None:
    spoil(path, pages_of(path, "attempts")[which])
    attempts = {one.table: one for one in repaired(path).tables}["attempts"]
    assert attempts.lost > 0
    assert attempts.recovered + attempts.lost == ATTEMPTS


def test_runs_that_are_lost_are_made_up_for_their_attempts(path: Path) -> None:
    for number in (*pages_of(path, "runs"), *pages_of(path, "sessions")):
        spoil(path, number)
    done = repaired(path)
    tables = {one.table: one for one in done.tables}
    assert (tables["runs"].recovered, tables["attempts"].recovered) == (0, ATTEMPTS)
    assert done.stand_ins == RUNS
    assert is_whole(path)
    open_for_reading(path, program_version="1.0").close()
    assert column(path, "SELECT DISTINCT status FROM runs") == ["interrupted"]
    assert column(path, "SELECT newest_run_id FROM sessions") == column(path, "SELECT run_id FROM runs")


def test_a_row_of_which_no_sense_can_be_made(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE attempts SET checks = '{not json' WHERE attempt_id = 'attempt-7'")
    done = repaired(path)
    assert done.faults == ("attempts: 1 row of which no sense can be made",)
    assert {one.table: one.lost for one in done.tables}["attempts"] == 1


def test_a_dry_run_changes_nothing(path: Path) -> None:
    spoil(path, pages_of(path, "attempts")[3])
    before = path.read_bytes()
    planned = repaired(path, dry_run=True)
    assert planned.kept_as is None
    assert path.read_bytes() == before
    assert not [name for name in names(path.parent) if "damaged" in name or "repaired" in name]
    assert repaired(path).tables == planned.tables


def test_what_is_still_in_the_write_ahead_log_is_saved(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET title = 'newer' WHERE session_id = 'session-1'")
        connection.commit()
        spoil(path, pages_of(path, "attempts")[5])
        copy = path.with_name("copy.db")
        for suffix in ("", "-wal"):  # as a process leaves them that is killed
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    done = repaired(copy)
    assert column(copy, "SELECT title FROM sessions WHERE session_id = 'session-1'") == ["newer"]
    assert done.kept_as is not None
    assert done.kept_as.with_name(f"{done.kept_as.name}-wal").stat().st_size > 0
    assert is_whole(copy)


def test_a_log_that_is_cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    done = repaired(path)
    assert sum(one.recovered for one in done.tables) > RUNS
    assert is_whole(path)


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_leaves_a_log_that_works(path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # no secret
    pages = path.stat().st_size // PAGE
    for number in dice.sample(range(2, pages + 1), k=dice.choice([1, 3, 10])):
        spoil(path, number, dice.choice([bytes(PAGE), dice.randbytes(PAGE), dice.randbytes(300)]))
    before = path.read_bytes()
    try:
        done = repaired(path)
    except StoreError as error:
        assert "nothing of the session log" in error.message  # noqa: PT017  # it depends on the seed
        assert path.read_bytes() == before
        return
    assert is_whole(path)
    assert sum(one.recovered for one in done.tables) > (RUNS if done.faults else -1)


@pytest.mark.parametrize("content", [b"notes, " * 2000, bytes(8 * PAGE)])
def test_what_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="nothing of the session log ") as error:
        repaired(path)
    assert error.value.hint
    assert path.read_bytes() == content
    assert names(path.parent) == {path.name}


def test_what_others_have_added_is_no_obstacle_however_it_is_called(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("""CREATE TABLE "my 'odd"" table" (x)""")
        connection.execute("""CREATE INDEX "by 'odd"" verdict" ON attempts (verdict)""")
        connection.execute("CREATE INDEX by_length ON attempts (length(attempt_id))")
    assert repaired(path) == Repair(path)
    spoil(path, pages_of(path, "attempts")[3])
    assert {one.table: one.recovered for one in repaired(path).tables}["runs"] == RUNS
    assert is_whole(path)


def test_files_that_are_not_ours_to_repair(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no session log yet"):
        repaired(tmp_path / "none.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreVersionError):
        repaired(path)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreError, match="another program"):
        repaired(other)


def test_an_older_log_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(open_for_writing(path, program_version="1.0", migrations=MIGRATIONS[:2])) as connection:
        connection.execute("BEGIN")
        fill(connection)
        connection.execute("COMMIT")
    spoil(path, pages_of(path, "attempts")[3])
    done = repaired(path)
    assert {one.table: one.recovered for one in done.tables}["runs"] == RUNS
    assert column(path, "PRAGMA user_version") == [len(MIGRATIONS)]
    assert is_whole(path)
    assert done.kept_as is not None
    assert names(tmp_path) == {"old.db", done.kept_as.name}


_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sessions").fetchone()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held_open(path: Path) -> Iterator[Path]:
    """Another process has the log open, and does nothing at the moment."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield path
        process.kill()


def test_a_log_that_is_in_use_is_not_repaired(held_open: Path) -> None:
    spoil(held_open, pages_of(held_open, "attempts")[3])
    before = held_open.read_bytes()
    with pytest.raises(StoreError, match="is open in another process") as error:
        repaired(held_open)
    assert error.value.hint
    assert held_open.read_bytes() == before
    assert repaired(held_open, dry_run=True).faults


def test_who_does_not_wait_for_its_end_has_been_told(path: Path) -> None:
    spoil(path, pages_of(path, "attempts")[3])
    told: list[Repair] = []

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(path, program_version="1.0", now=NOW, sleep=interrupted, tell=told.append)
    (done,) = told
    assert done.kept_as is not None
    assert done.kept_as.is_file()
    assert is_whole(path)


def test_on_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--db", str(path), "sessions", "repair", "--dry-run"]
    assert run_command_line(arguments) == 0
    assert capsys.readouterr().out == f"{path} is healthy: there is nothing to repair\n"
    spoil(path, pages_of(path, "attempts")[3])
    assert run_command_line(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path} is damaged:\n")
    assert "could be saved:\n" in out
    assert f"  steps        {ATTEMPTS}\n  breakers     0\n  reservations 0\n" in out
    assert run_command_line([*arguments, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert set(planned) == {"path", "healthy", "dry_run", "faults", "tables", "stand_ins", "kept_as"}
    assert (planned["healthy"], planned["dry_run"], planned["kept_as"]) == (False, True, None)
    assert {one["table"]: one["lost"] > 0 for one in planned["tables"]} == {
        "sessions": False,
        "runs": False,
        "attempts": True,
        "steps": False,
        "breakers": False,
        "reservations": False,
        "labels": False,
    }
