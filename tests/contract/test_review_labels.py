"""What `ports.ReviewStore` promises of labels, activity and pruning, held against real SQLite files."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import attempt as attempt_of

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import RunResult, RunStart, Step
from hyperguild.domain.review import Activity, ReviewFilter, consensus
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import UsageError

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class SetClock(SystemClock):
    """Real, but for the time of day: the test sets that."""

    time = NOW

    def now(self) -> datetime:
        return self.time


class Log:
    """A session log on disk: one store that records runs, as a walk does, and one that looks back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SetClock()
        self.scrubber = Scrubber()
        self._stores: list[Any] = []
        self._numbers = itertools.count(1)

    async def recorder(self, log: LogPolicy | None = None) -> SqliteSessionStore:
        store = await SqliteSessionStore.open(
            self.path, scrubber=Scrubber(), log=log or LogPolicy(keep_days=None), clock=self.clock
        )
        self._stores.append(store)
        return store

    async def reviewer(self, *, read_only: bool = False) -> SqliteReviewStore:
        ids = Uuid7Source(now_ms=lambda: int(self.clock.now().timestamp() * 1000), random_bytes=os.urandom)
        store = await SqliteReviewStore.open(
            self.path, scrubber=self.scrubber, clock=self.clock, ids=ids, read_only=read_only
        )
        self._stores.append(store)
        return store

    async def begin(self, recorder: SqliteSessionStore, run_id: str, **fields: Any) -> None:
        known = {
            "run_id": run_id,
            "session_id": f"session of {run_id}",
            "skill": "review",
            "chain": "code",
            "task": f"the task of {run_id}",
            "created_at": self.clock.now(),
            "lease_expires_at": self.clock.now() + timedelta(seconds=15),
        }
        await recorder.start_run(RunStart(**{**known, **fields}))

    async def attempt(self, recorder: SqliteSessionStore, run_id: str, *, steps: int = 0) -> str:
        attempt_id = f"attempt {next(self._numbers)} of {run_id}"
        made = [self.step(attempt_id) for _ in range(steps)]
        await recorder.record_attempt(run_id, attempt_of(attempt_id=attempt_id, answer=f"of {run_id}"), made)
        return attempt_id

    def step(self, attempt_id: str) -> Step:
        return Step(
            step_id=f"step {next(self._numbers)}",
            attempt_id=attempt_id,
            position=0,
            messages=(),
            created_at=self.clock.now(),
        )

    async def end(self, recorder: SqliteSessionStore, run_id: str, **fields: Any) -> None:
        known = {
            "run_id": run_id,
            "session_id": f"session of {run_id}",
            "skill": "review",
            "chain": "code",
            "status": "exhausted",
        }
        await recorder.finish_run(RunResult(**{**known, **fields}), self.clock.now())

    async def run(
        self,
        recorder: SqliteSessionStore,
        run_id: str,
        *,
        days_old: float = 0,
        attempts: int = 1,
        **fields: Any,
    ) -> list[str]:
        created = self.clock.now() - timedelta(days=days_old)
        await self.begin(recorder, run_id, created_at=created, **fields)
        made = [await self.attempt(recorder, run_id) for _ in range(attempts)]
        await self.end(recorder, run_id)
        return made

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def count(self, table: str) -> int:
        [(number,)] = self.rows(f"SELECT count(*) FROM {table}")  # noqa: S608  # our own names
        return int(number)

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    made = Log(tmp_path / "sessions.db")
    yield made
    await made.aclose()


class TestLabels:
    async def test_what_was_said_stays_and_the_newest_word_counts(self, log: Log) -> None:
        recorder = await log.recorder()
        [attempt_id] = await log.run(recorder, "r1")
        review = await log.reviewer()
        first = await review.label(attempt_id, "good", reviewer="anna", note="short")
        assert (first.value, first.reviewer, first.note, first.created_at) == ("good", "anna", "short", NOW)
        await review.label(attempt_id, "bad", reviewer="ben", note="")
        await review.label(attempt_id, "bad", reviewer="anna", note="wrong after all")
        history = (await review.labels([attempt_id, "another"]))[attempt_id]
        assert [(label.reviewer, label.value, label.note) for label in history] == [
            ("anna", "good", "short"),
            ("ben", "bad", ""),
            ("anna", "bad", "wrong after all"),
        ]
        assert len({label.label_id for label in history}) == 3

    async def test_what_they_come_to_is_kept_with_the_attempt(self, log: Log) -> None:
        recorder = await log.recorder()
        [attempt_id] = await log.run(recorder, "r1")
        review = await log.reviewer()

        async def state() -> str | None:
            [row] = (await review.attempts(ReviewFilter(), limit=2)).items
            assert row.label == consensus((await review.labels([attempt_id])).get(attempt_id, ()))
            return row.label

        assert await state() is None
        told: list[tuple[str, Any, str | None]] = [
            ("anna", "good", "good"),
            ("ben", "bad", "disputed"),
            ("carl", "bad", "bad"),
            ("ben", None, "disputed"),
            ("carl", None, "good"),
            ("anna", None, None),
        ]
        for reviewer, value, expected in told:
            await review.label(attempt_id, value, reviewer=reviewer, note="")
            assert await state() == expected
        assert await review.labels([]) == {}

    async def test_notes_are_scrubbed_and_odd_characters_do_no_harm(self, log: Log) -> None:
        recorder = await log.recorder()
        [attempt_id] = await log.run(recorder, "r1")
        log.scrubber.learn("MY_KEY", "a-secret-of-mine-42")
        review = await log.reviewer()
        said = await review.label(
            attempt_id, "bad", reviewer="a\udc80", note="has a-secret-of-mine-42 \udcff"
        )
        assert said.note == "has [secret:MY_KEY] ?"
        assert said == (await review.labels([attempt_id]))[attempt_id][0]
        assert b"a-secret-of-mine-42" not in b"".join(
            file.read_bytes() for file in log.path.parent.iterdir() if file.is_file()
        )

    async def test_there_must_be_such_an_attempt(self, log: Log) -> None:
        await log.run(await log.recorder(), "r1")
        review = await log.reviewer()
        with pytest.raises(UsageError, match="no attempt 'nobody'"):
            await review.label("nobody", "good", reviewer="anna", note="")
        assert log.rows("SELECT * FROM labels") == []

    async def test_more_attempts_than_one_query_takes(self, log: Log) -> None:
        recorder = await log.recorder()
        [attempt_id] = await log.run(recorder, "r1")
        review = await log.reviewer()
        await review.label(attempt_id, "good", reviewer="anna", note="")
        found = await review.labels([*(f"none {number}" for number in range(70_000)), attempt_id])
        assert list(found) == [attempt_id]


class TestActivity:
    async def test_it_begins_with_what_is_under_way(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.run(recorder, "r1")
        await log.begin(recorder, "r2")
        await log.begin(recorder, "r3")
        review = await log.reviewer(read_only=True)
        activity = await review.activity(None)
        assert (activity.started, activity.progressed, activity.ended) == (("r2", "r3"), (), ())
        again = await review.activity(activity.mark)
        assert again == Activity(activity.mark)

    async def test_each_thing_is_seen_once(self, log: Log) -> None:
        recorder = await log.recorder()
        review = await log.reviewer(read_only=True)
        mark = (await review.activity(None)).mark

        async def seen() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
            nonlocal mark
            activity = await review.activity(mark)
            mark = activity.mark
            return activity.started, activity.progressed, activity.ended

        await log.begin(recorder, "r1")
        assert await seen() == (("r1",), (), ())
        await recorder.record_step("r1", log.step("a1"))
        assert await seen() == ((), ("r1",), ())
        await log.attempt(recorder, "r1", steps=2)
        assert await seen() == ((), ("r1",), ())
        await log.begin(recorder, "r2")
        await log.end(recorder, "r1")
        assert await seen() == (("r2",), (), ("r1",))
        await log.run(recorder, "r3")
        assert await seen() == (("r3",), ("r3",), ("r3",))
        assert await seen() == ((), (), ())

    async def test_a_run_that_goes_on_has_started_again(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.begin(recorder, "r1")
        await log.end(recorder, "r1", status="cancelled")
        review = await log.reviewer(read_only=True)
        mark = (await review.activity(None)).mark
        await recorder.resume_run("r1", NOW + timedelta(seconds=15))
        activity = await review.activity(mark)
        assert (activity.started, activity.ended) == (("r1",), ())
        await log.attempt(recorder, "r1")
        await log.end(recorder, "r1")
        assert (await review.activity(activity.mark)).ended == ("r1",)

    async def test_a_run_whose_process_is_gone_has_ended(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.begin(recorder, "r1")
        review = await log.reviewer(read_only=True)
        mark = (await review.activity(None)).mark
        log.clock.time = NOW + timedelta(seconds=16)
        assert (await review.activity(mark)).ended == ("r1",)

    async def test_what_was_deleted_is_left_out(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.begin(recorder, "r1")
        review = await log.reviewer()
        mark = (await review.activity(None)).mark
        await log.end(recorder, "r1")
        await review.prune(NOW + timedelta(days=1), keep_labelled=False)
        activity = await review.activity(mark)
        assert (activity.started, activity.progressed, activity.ended) == ((), (), ())
        await log.begin(recorder, "r2")
        assert (await review.activity(activity.mark)).started == ("r2",)


WRITER = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.contract.test_review_labels import Log

async def main():
    log = Log(Path(sys.argv[1]))
    name, count = sys.argv[2], int(sys.argv[3])
    recorder, review = await log.recorder(), await log.reviewer()
    for number in range(count):
        [attempt_id] = await log.run(recorder, f"{{name}} {{number}}")
        await review.label(attempt_id, "good", reviewer=name, note="")
        await review.label("shared", "good" if number % 2 else "bad", reviewer=name, note=str(number))
    await log.aclose()

asyncio.run(main())
"""


async def test_two_processes_write_while_a_third_one_looks(log: Log) -> None:
    recorder = await log.recorder()
    await log.begin(recorder, "base")
    await recorder.record_attempt("base", attempt_of(attempt_id="shared"), [])
    await log.end(recorder, "base")
    review = await log.reviewer(read_only=True)
    mark = (await review.activity(None)).mark
    program = WRITER.format(path=sys.path)
    arguments = [sys.executable, "-c", program, str(log.path)]
    processes = [
        await asyncio.create_subprocess_exec(*arguments, name, "8", stderr=subprocess.PIPE)
        for name in ("anna", "ben")
    ]
    started: list[str] = []
    ended: list[str] = []
    over = False
    while not over:
        over = all(process.returncode is not None for process in processes)
        activity = await review.activity(mark)
        mark = activity.mark
        started += activity.started
        ended += activity.ended
        await asyncio.sleep(0.01)
    for process in processes:
        _, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
    expected = sorted(f"{name} {number}" for name in ("anna", "ben") for number in range(8))
    assert (sorted(started), sorted(ended)) == (expected, expected)
    history = (await review.labels(["shared"]))["shared"]
    for name in ("anna", "ben"):
        notes = [label.note for label in history if label.reviewer == name]
        assert notes == [str(number) for number in range(8)]
    states = dict(log.rows("SELECT attempt_id, label FROM attempts"))
    assert states.pop("shared") == consensus(history) == "good"
    assert set(states.values()) == {"good"}


class TestPruning:
    async def test_old_runs_go_with_all_that_is_theirs(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.begin(recorder, "old", created_at=NOW - timedelta(days=91))
        attempt_id = await log.attempt(recorder, "old", steps=3)
        await log.end(recorder, "old")
        await log.run(recorder, "new", days_old=89)
        review = await log.reviewer()
        await review.label(attempt_id, "bad", reviewer="anna", note="a note")
        expected = {"runs": 1, "attempts": 1, "sessions": 1, "kept": 0}
        before = log.rows("SELECT count(*) FROM runs")
        counted = await review.prune(NOW - timedelta(days=90), keep_labelled=False, dry_run=True)
        assert counted.model_dump() == {**expected, "dry_run": True}
        assert log.rows("SELECT count(*) FROM runs") == before
        found = await review.prune(NOW - timedelta(days=90), keep_labelled=False)
        assert found.model_dump() == {**expected, "dry_run": False}
        assert [log.count(table) for table in ("sessions", "runs", "attempts")] == [1, 1, 1]
        assert [log.count(table) for table in ("steps", "labels")] == [0, 0]
        assert (await review.prune(NOW - timedelta(days=90), keep_labelled=False)).runs == 0

    async def test_a_run_of_just_that_time_stays(self, log: Log) -> None:
        recorder = await log.recorder()
        await log.run(recorder, "r1", days_old=90)
        review = await log.reviewer()
        assert (await review.prune(NOW - timedelta(days=90), keep_labelled=False)).runs == 0
        later = NOW - timedelta(days=90) + timedelta(milliseconds=1)
        assert (await review.prune(later, keep_labelled=False)).runs == 1

    async def test_what_stays(self, log: Log) -> None:
        recorder = await log.recorder()
        [labelled] = await log.run(recorder, "labelled", days_old=100)
        [taken_back] = await log.run(recorder, "taken back", days_old=100)
        await log.run(recorder, "of another skill", days_old=100, skill="explain")
        await log.begin(recorder, "under way", created_at=NOW - timedelta(days=100))
        review = await log.reviewer()
        await review.label(labelled, "good", reviewer="anna", note="")
        await review.label(taken_back, "good", reviewer="anna", note="")
        await review.label(taken_back, None, reviewer="anna", note="")
        before = NOW - timedelta(days=90)
        for dry_run in (True, False):
            found = await review.prune(before, keep_labelled=True, skills=["review"], dry_run=dry_run)
            assert (found.runs, found.sessions, found.kept) == (1, 1, 2)
        left = {run_id for (run_id,) in log.rows("SELECT run_id FROM runs")}
        assert left == {"labelled", "of another skill", "under way"}
        assert (await review.prune(before, keep_labelled=False)).runs == 2
        assert log.rows("SELECT run_id FROM runs") == [("under way",)]

    async def test_what_was_delegated_goes_and_stays_with_its_parent(self, log: Log) -> None:
        recorder = await log.recorder()
        for parent in ("p1", "p2"):
            session_id = f"session of {parent}"
            await log.run(recorder, parent, days_old=100, session_id=session_id)
            # Begun after the time in question, and of another skill.
            await log.run(
                recorder, f"child of {parent}", session_id=session_id, parent_run_id=parent, skill="explain"
            )
        [of_child] = [
            attempt_id
            for (attempt_id,) in log.rows("SELECT attempt_id FROM attempts WHERE run_id = 'child of p2'")
        ]
        await log.run(recorder, "orphan", days_old=100, parent_run_id="lost")
        review = await log.reviewer()
        await review.label(of_child, "good", reviewer="anna", note="")
        before = NOW - timedelta(days=90)
        for dry_run in (True, False):
            found = await review.prune(before, keep_labelled=True, skills=["review"], dry_run=dry_run)
            assert (found.runs, found.attempts, found.sessions, found.kept) == (3, 3, 2, 2)
        assert {run_id for (run_id,) in log.rows("SELECT run_id FROM runs")} == {"p2", "child of p2"}

    async def test_a_session_fits_what_is_left_of_it(self, log: Log) -> None:
        recorder = await log.recorder()
        for number, (age, task) in enumerate([(100, "first"), (99, "second\nline"), (1, "third")]):
            await log.run(recorder, f"r{number}", days_old=age, session_id="s", task=task)
        review = await log.reviewer()
        found = await review.prune(NOW - timedelta(days=99, hours=1), keep_labelled=False)
        assert (found.runs, found.sessions) == (1, 0)
        assert log.rows("SELECT title, newest_run_id FROM sessions") == [("second", "r2")]

    async def test_the_last_run_of_a_session_to_go_may_be_its_newest(self, log: Log) -> None:
        recorder = await log.recorder()
        [kept] = await log.run(recorder, "r1", days_old=100, session_id="s")
        await log.run(recorder, "r2", days_old=99, session_id="s")
        review = await log.reviewer()
        await review.label(kept, "good", reviewer="anna", note="")
        await review.prune(NOW, keep_labelled=True)
        assert log.rows("SELECT newest_run_id FROM sessions") == [("r1",)]

    async def test_nothing_of_it_is_left_on_disk(self, log: Log) -> None:
        recorder = await log.recorder()
        mark = "an-answer-that-nobody-may-read-again"
        await log.run(recorder, "old", days_old=100, task=mark)
        await log.run(recorder, "new")
        review = await log.reviewer()
        await review.prune(NOW - timedelta(days=1), keep_labelled=False)
        for file in log.path.parent.iterdir():
            assert mark.encode() not in file.read_bytes(), file

    async def test_others_write_meanwhile(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hyperguild.adapters.store.pruning.BATCH", 5)
        recorder = await log.recorder()
        for number in range(24):
            await log.run(recorder, f"old {number:02}", days_old=100, attempts=0)
        review = await log.reviewer()
        pruning = asyncio.create_task(review.prune(NOW - timedelta(days=1), keep_labelled=False))
        meanwhile: list[int] = []
        while not pruning.done():
            await log.run(recorder, f"new {len(meanwhile)}", attempts=0)
            meanwhile += log.rows("SELECT count(*) FROM runs WHERE run_id LIKE 'old %'")[0]
        assert (await pruning).runs == 24
        assert any(0 < left < 24 for left in meanwhile)

    async def test_cancelled_it_leaves_whole_runs(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hyperguild.adapters.store.pruning.BATCH", 1)
        recorder = await log.recorder()
        for number in range(30):
            await log.run(recorder, f"old {number:02}", days_old=100)
        review = await log.reviewer()
        pruning = asyncio.create_task(review.prune(NOW - timedelta(days=1), keep_labelled=False))
        while log.count("runs") == 30:  # noqa: ASYNC110  # nobody sets an event when a row goes
            await asyncio.sleep(0)
        pruning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pruning
        await review.aclose()
        assert 0 < log.count("runs") < 30
        assert log.count("runs") == log.count("attempts") == log.count("sessions")
