"""kill -9 at random moments: what was acknowledged is there, the log opens, what ran is marked so."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from damaged_logs import make_log, pages_of, spoil
from killing import Victims

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.store.repair import repair
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.secrets import Scrubber

LONGEST_LIFE_S = 0.4
"""From the start of a victim, which opens the log in this time, or from its first attempt."""


@pytest.fixture
def victims(home: Any) -> Iterator[Victims]:
    started = Victims(home.env)
    yield started
    started.close()


def column(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as log:
        return [row[0] for row in log.execute(query)]


async def open_once(path: Path) -> None:
    """Open the log for writing, as the next command does."""
    store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock())
    await store.aclose()


def check(path: Path, said: list[str]) -> None:
    """Check the log after a victim that had said these things."""
    told: dict[str, set[str]] = {"run": set(), "attempt": set(), "end": set()}
    for kind, name in (line.split() for line in said):
        told[kind].add(name)
    if not path.exists():
        assert said == []
        return
    asyncio.run(open_once(path))
    assert column(path, "PRAGMA integrity_check") == ["ok"]
    assert column(path, "PRAGMA foreign_key_check") == []
    assert told["run"] <= set(column(path, "SELECT run_id FROM runs"))
    assert told["attempt"] <= set(column(path, "SELECT attempt_id FROM attempts"))
    assert told["end"] <= set(column(path, "SELECT run_id FROM runs WHERE status = 'accepted'"))
    assert set(column(path, "SELECT status FROM runs")) <= {"accepted", "interrupted"}


def kill(victims: Victims, home: Any, seed: int, kills: int) -> int:
    """Kill so many victims, each at a moment of its own; return how many attempts they had told of."""
    dice, attempts = random.Random(seed), 0  # noqa: S311  # no secret
    path = Path(home.env["XDG_STATE_HOME"], "hyperguild", "sessions.db")
    for _ in range(kills):
        if dice.random() < 0.25:  # the making of a new log is under fire, too
            shutil.rmtree(path.parent, ignore_errors=True)
        word = "attempt" if dice.random() < 0.75 else None
        after_s = LONGEST_LIFE_S * dice.random()
        said = victims.kill_one("walks", home.folder / "chains.yaml", after_s=after_s, word=word)
        check(path, said)
        attempts += sum(line.startswith("attempt ") for line in said)
    assert home.run("run", "review", "the next one").code == 0
    return attempts


def test_c9_no_acknowledged_attempt_is_lost_in_a_few_kills(home: Any, victims: Victims) -> None:
    assert kill(victims, home, seed=9, kills=4) > 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_c9_no_acknowledged_attempt_is_lost_in_200_kills(
    home: Any, victims: Victims, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = kill(victims, home, seed=200, kills=200)
    with capsys.disabled():
        sys.stdout.write(f"\n200 kills, {attempts} acknowledged attempts, none lost\n")
    assert attempts > 200


def old_logs(folder: Path, number: int) -> None:
    """Make logs of an older version, each with a session."""
    folder.mkdir()
    first = folder / "0.db"
    with closing(open_for_writing(first, program_version="1.0", migrations=MIGRATIONS[:1])) as log:
        log.execute(
            "INSERT INTO sessions (session_id, created_at, title)"
            " VALUES ('s', '2026-01-01T00:00:00.000Z', 'precious')"
        )
    for copy in range(1, number):
        shutil.copy(first, folder / f"{copy}.db")


@pytest.mark.long
def test_kills_while_logs_are_brought_up_to_date(tmp_path: Path, victims: Victims) -> None:
    dice = random.Random(3)  # noqa: S311  # no secret
    done = 0
    for number in range(2):
        folder = tmp_path / str(number)
        old_logs(folder, 20)
        said = victims.kill_one("upgrades", folder, after_s=0.1 * dice.random(), word=".db")
        done += len(said)
        for path in folder.glob("*.db"):
            version = column(path, "PRAGMA user_version")[0]
            assert version in {1, len(MIGRATIONS)}
            assert version == len(MIGRATIONS) or path.name not in said
            assert column(path, "SELECT title FROM sessions") == ["precious"]
            backup = path.with_name(f"{path.name}.bak-v1")
            assert version == 1 or column(backup, "SELECT title FROM sessions") == ["precious"]
            open_for_writing(path, program_version="2.0").close()
            assert column(path, "PRAGMA integrity_check") == ["ok"]
    assert done > 0


@pytest.mark.long
def test_kills_while_logs_are_repaired(tmp_path: Path, victims: Victims) -> None:
    first = make_log(tmp_path / "0.db")
    for number in pages_of(first, "attempts")[3:5]:
        spoil(first, number)
    damaged = first.read_bytes()
    for copy in range(1, 6):
        shutil.copy(first, tmp_path / f"{copy}.db")
    said = victims.kill_one("repairs", tmp_path, after_s=0.2, word=".db")
    assert said
    for path in tmp_path.glob("*.db"):
        if path.name in said or path.read_bytes() != damaged:
            assert column(path, "PRAGMA integrity_check") == ["ok"]
            (kept,) = tmp_path.glob(f"{path.name}.damaged-*Z")
            assert kept.read_bytes() == damaged
        else:
            repair(path, program_version="2.0", now=datetime.now(UTC), sleep=lambda _seconds: None)
            assert column(path, "PRAGMA integrity_check") == ["ok"]
