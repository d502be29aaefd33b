"""The contract of `ports.ReviewStore`, held against real SQLite files."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from review_logs import BEGIN, LogClock, LogWriter, all_of, open_review, open_sessions

from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.cursors import write_cursor
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.store.repair import repair
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.adapters.store.search_index import TABLE
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunStart
from hyperguild.domain.review import EVERYTHING, ReviewFilter
from hyperguild.errors import UsageError


@pytest.fixture
def clock() -> LogClock:
    return LogClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def log(path: Path, clock: LogClock) -> LogWriter:
    writer = LogWriter(path, clock)
    await writer.write(12)
    return writer


@pytest.fixture
async def store(log: LogWriter) -> AsyncIterator[SqliteReviewStore]:
    opened = await open_review(log.path, log.clock)
    yield opened
    await opened.aclose()


async def record(
    path: Path, clock: LogClock, task: str, *answers: str, log: LogPolicy | None = None
) -> list[str]:
    """Record a run with an attempt for each answer; return its id and theirs."""
    ids = clock.ids()
    now = clock.now()
    start = RunStart(
        run_id=ids.new_id(),
        session_id=ids.new_id(),
        skill="review",
        chain="code",
        task=task,
        created_at=now,
        lease_expires_at=now + timedelta(seconds=15),
    )
    attempts = [
        Attempt(
            attempt_id=ids.new_id(),
            position=place,
            model="phi4",
            tier="local",
            endpoint="swap",
            verdict="accept",
            answer=answer,
        )
        for place, answer in enumerate(answers)
    ]
    sessions = await open_sessions(path, clock, log)
    await sessions.start_run(start)
    for attempt in attempts:
        await sessions.record_attempt(start.run_id, attempt, ())
    await sessions.aclose()
    clock.time += timedelta(minutes=1)
    return [start.run_id, *(attempt.attempt_id for attempt in attempts)]


async def found(path: Path, clock: LogClock, text: str) -> list[str]:
    """Return the ids of runs and attempts in which a text is found."""
    store = await open_review(path, clock)
    try:
        hits = await all_of(store.search, ReviewFilter(text=text))
    finally:
        await store.aclose()
    return [hit.attempt_id or hit.run_id for hit in hits]


async def test_no_page_has_gaps_or_doubles_while_runs_are_added(
    log: LogWriter, store: SqliteReviewStore
) -> None:
    before = [run.start.run_id for run in reversed(log.ran)]
    seen: list[str] = []
    after = None
    while True:
        page = await store.runs(EVERYTHING, limit=5, after=after)
        seen += [run.run_id for run in page.items]
        after = page.after
        if after is None:
            break
        await log.write(1)
    assert seen == before


async def test_a_cursor_outlives_vacuum_and_the_attempt_it_names(
    log: LogWriter, store: SqliteReviewStore
) -> None:
    every = [one.attempt_id for one in await all_of(store.attempts, EVERYTHING)]
    first = await store.attempts(EVERYTHING, limit=4)
    with closing(sqlite3.connect(log.path)) as connection:
        connection.execute("VACUUM")
    rest = await store.attempts(EVERYTHING, limit=100, after=first.after)
    assert [one.attempt_id for one in (*first.items, *rest.items)] == every
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("DELETE FROM attempts WHERE attempt_id = ?", (every[3],))
    rest = await store.attempts(EVERYTHING, limit=100, after=first.after)
    assert set(every[4:]) >= {one.attempt_id for one in rest.items}


@pytest.mark.parametrize(
    "after", ["", "nonsense", "WyJydW5zIl0", "WyJhdHRlbXB0cyIsMSwyLDNd", "ü", "[" * 9999]
)
async def test_a_made_up_cursor_is_refused(store: SqliteReviewStore, after: str) -> None:
    with pytest.raises(UsageError, match="is not where a page of this listing ended"):
        await store.runs(EVERYTHING, limit=5, after=after)


@pytest.mark.parametrize(
    ("listing", "key"), [("runs", ["\ud800", "x"]), ("runs by text", [10**30]), ("runs by text", [-(10**30)])]
)
async def test_a_cursor_of_what_sqlite_does_not_take_is_refused(
    store: SqliteReviewStore, listing: str, key: list[Any]
) -> None:
    after = write_cursor(listing, tuple(key))
    wanted = ReviewFilter(text="alpha") if listing == "runs by text" else EVERYTHING
    with pytest.raises(UsageError, match="is not where a page of this listing ended"):
        await store.runs(wanted, limit=5, after=after)


async def test_a_page_of_nothing_is_refused(store: SqliteReviewStore) -> None:
    with pytest.raises(UsageError, match="a page of 0 items"):
        await store.runs(EVERYTHING, limit=0)


async def test_text_is_found_as_a_person_types_it(path: Path, clock: LogClock) -> None:
    run, answer, other = await record(
        path,
        clock,
        'Why does parse_config("a:b") fail? NEAR the end, été',
        "Because Loader.read_all drops 東京都の設定 and it's wrong",
        "nothing of that",
    )
    for text, where in {
        "parse_config": [run],
        "PARSE_CONFIG": [run],
        "parse": [],
        "parse*": [run],
        "ete": [run],
        "ÉT*": [run],
        "a:b": [run],
        "b:a": [],
        "loader.read_all": [answer],
        '"read_all drops"': [answer],
        '"drops read_all"': [],
        "drops read_all": [answer],
        '"read_all drops': [answer],
        "京都": [answer],
        "都京": [],
        "設定*": [answer],
        "it's": [answer],
        "NEAR": [run],
        "near - NOT": [],
        "fail* -": [run],
        "body:fail": [],
        "noth*": [other],
        "zzz*": [],
        "__s*": [],
        "fail)": [run],
        "NOT": [],
        "OR": [],
        "{fail} ^fail + fail": [run],
        "fail\0": [run],
        "fail AND": [],
    }.items():
        assert await found(path, clock, text) == where, text


@pytest.mark.parametrize("text", ["", "  ", "-", '"', '""', "***", "?!", "\0"])
async def test_a_query_without_a_word_is_refused(path: Path, clock: LogClock, text: str) -> None:
    await record(path, clock, "a task", "an answer")
    with pytest.raises(UsageError):
        await found(path, clock, text)


async def test_a_hit_shows_what_was_found(path: Path, clock: LogClock) -> None:
    await record(path, clock, "please look", f"{'long ' * 99} the <b>Needle</b> in 干し草の山 {'tail ' * 99}")
    store = await open_review(path, clock)
    (hit,) = (await store.search(ReviewFilter(text="needle 草の*"), limit=5)).items
    await store.aclose()
    assert hit.excerpt[1::2] == ("Needle", "草の")
    assert hit.excerpt[0].startswith("…long ")
    assert hit.excerpt[2] == "</b> in 干し"


async def test_deleted_texts_leave_nothing_behind(path: Path, clock: LogClock) -> None:
    await record(path, clock, "old xyzzyx", "plughx one", "plughx two")
    clock.time += timedelta(days=40)
    kept, _ = await record(path, clock, "young task", "answer", log=LogPolicy(keep_days=30))
    assert await found(path, clock, "xyzzyx") == []
    assert await found(path, clock, "young") == [kept]
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"xyzzyx" not in raw
    assert b"plughx" not in raw


async def test_texts_are_found_after_vacuum(path: Path, clock: LogClock) -> None:
    gone, _ = await record(path, clock, "first words", "one")
    kept, _ = await record(path, clock, "second words", "two")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM runs WHERE run_id = ?", (gone,))
        connection.commit()
        connection.execute("VACUUM")
        connection.execute(f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    assert await found(path, clock, "words") == [kept]
    third, _ = await record(path, clock, "third words", "three")
    assert await found(path, clock, "words") == [third, kept]


async def test_a_text_that_is_edited_is_found_by_its_new_words(path: Path, clock: LogClock) -> None:
    run, answer = await record(path, clock, "a task", "an answer")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE attempts SET answer = 'blanked'")
        connection.execute("UPDATE runs SET task = NULL")
    assert await found(path, clock, "answer") == []
    assert await found(path, clock, "blanked") == [answer]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM runs WHERE run_id = ?", (run,))
        connection.execute(f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('integrity-check', 1)")  # noqa: S608


@pytest.mark.parametrize("content", ["metadata", "none"])
async def test_what_is_not_logged_is_not_found(path: Path, clock: LogClock, content: Any) -> None:
    await record(path, clock, "secret task", "secret answer", log=LogPolicy(content=content))
    assert await found(path, clock, "secret") == []
    store = await open_review(path, clock)
    assert [run.excerpt for run in (await store.runs(EVERYTHING, limit=5)).items] == [None]
    await store.aclose()


async def test_a_repaired_log_is_searched(path: Path, clock: LogClock) -> None:
    run, answer = await record(path, clock, "mended words", "more words")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET usage = 'nonsense' WHERE run_id = 'none'")
        connection.execute("INSERT INTO runs SELECT * FROM runs WHERE 0")
        connection.execute("UPDATE attempts SET checks = 'nonsense', rowid = rowid + 5 WHERE 0")
        connection.execute("INSERT INTO sessions (session_id, created_at) VALUES ('odd', 'no time')")
    done = repair(path, program_version="1", now=clock.now(), sleep=lambda _: None)
    assert done.faults
    assert {table.table for table in done.tables}.isdisjoint({TABLE, f"{TABLE}_data", f"{TABLE}_idx"})
    assert await found(path, clock, "words") == [answer, run]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="takes the sqlite3 shell")
async def test_a_log_brought_back_from_a_dump_is_searched(
    path: Path, clock: LogClock, tmp_path: Path
) -> None:
    run, answer = await record(path, clock, "dumped words", "more words")
    copy = tmp_path / "copy.db"
    dumped = subprocess.run(["sqlite3", str(path), ".dump"], capture_output=True, check=True)  # noqa: ASYNC221
    subprocess.run(["sqlite3", str(copy)], input=dumped.stdout, check=True)  # noqa: ASYNC221
    await (await open_sessions(copy, clock)).aclose()
    assert await found(copy, clock, "words") == [answer, run]


async def test_a_log_of_the_version_before_is_brought_up_to_date(path: Path, clock: LogClock) -> None:
    with closing(open_for_writing(path, program_version="1", migrations=MIGRATIONS[:6])) as connection:
        connection.execute("INSERT INTO sessions VALUES ('s', '2026-01-01T00:00:00.000Z', 'title')")
        for number in range(3):
            connection.execute(
                "INSERT INTO runs (run_id, session_id, schema_version, skill, chain, status, duration_ms,"
                " usage, images, created_at, lease_expires_at, task)"
                " VALUES (?, 's', 1, 'review', 'code', 'accepted', 1, '{}', 0, ?, '', 'old words')",
                (f"run-{number}", f"2026-01-0{number + 1}T00:00:00.000Z"),
            )
            connection.execute(
                "INSERT INTO attempts (attempt_id, run_id, position, model, tier, endpoint, warm_start,"
                " duration_ms, verdict, feedback, answer, retries, checks, usage, verifier) VALUES"
                " (?, ?, 0, 'phi4', 'local', 'swap', 0, 1, 'accept', '', 'words', 0, '[]', '{}', '{}')",
                (f"attempt-{number}", f"run-{number}"),
            )
    store = await open_review(path, clock)
    wanted = ReviewFilter(skills=("review",), since=BEGIN.replace(month=1, day=2, hour=0))
    assert [run.run_id for run in (await store.runs(wanted, limit=9)).items] == ["run-2", "run-1"]
    assert [one.attempt_id for one in await all_of(store.attempts, wanted)] == ["attempt-2", "attempt-1"]
    assert [one.session_id for one in await all_of(store.sessions, EVERYTHING)] == ["s"]
    await store.aclose()
    assert await found(path, clock, "words") == [
        name for number in (2, 1, 0) for name in (f"attempt-{number}", f"run-{number}")
    ]


async def test_an_attempt_is_meant_by_itself_or_by_its_run(path: Path, clock: LogClock) -> None:
    run, first, second = await record(path, clock, "task", "one", "two")
    store: SqliteReviewStore = await open_review(path, clock)
    for reference, meant in {
        first: first,
        first[-8:]: first,
        f"{run}:1": first,
        f"{run[-8:]}:2": second,
        "last:1": first,
        "last": second,
        run: second,
    }.items():
        assert await store.resolve_attempt(reference) == meant, reference
    for reference in (f"{run}:3", f"{run}:0", f"{run}:x", "nothing-like-it", "a"):
        with pytest.raises(UsageError):
            await store.resolve_attempt(reference)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET best_attempt_id = ?", (first,))
    assert await store.resolve_attempt("last") == first
    await store.aclose()


async def test_candidates_for_review_teach_most(log: LogWriter, store: SqliteReviewStore) -> None:
    found_now = await store.to_review(EVERYTHING, reviewer="me", limit=2)
    judged = [one for run in log.ran for one in run.attempts if one.attempt.answer]
    accepted = sorted(
        (one.attempt for one in judged if one.attempt.verdict == "accept"), key=lambda one: one.score or 0
    )
    refused = sorted(
        (one.attempt for one in judged if one.attempt.verdict == "escalate"), key=lambda one: one.score or 0
    )
    ids = [one.attempt_id for one in found_now]
    assert len(ids) == len(set(ids))
    assert {accepted[0].attempt_id, accepted[1].attempt_id, refused[-1].attempt_id} <= set(ids)
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute(
            "INSERT INTO labels VALUES ('l', ?, 'me', 'good', '', '2026')", (accepted[0].attempt_id,)
        )
    again = [one.attempt_id for one in await store.to_review(EVERYTHING, reviewer="me", limit=2)]
    assert accepted[0].attempt_id not in again
