"""The contract of `ports.SessionStore`, held against real SQLite files and real processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from hyperguild.adapters.store.breakers import peek_breakers
from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.store.repair import repair
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import (
    Attempt,
    CheckResult,
    ErrorInfo,
    JudgeUse,
    RunResult,
    RunStart,
    Step,
)
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage
from hyperguild.errors import StoreError, StoreVersionError, UsageError
from hyperguild.ports import SessionStore

NOON = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
FULL = LogPolicy()


@dataclass
class SetClock:
    """A clock that the test sets."""

    time: datetime = NOON

    def monotonic(self) -> float:
        return self.time.timestamp()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Opener(Protocol):
    async def __call__(self, log: LogPolicy = FULL, *, read_only: bool = False) -> SessionStore: ...


@dataclass
class Place:
    """Where the log is, and what every store of a test is opened with."""

    path: Path
    clock: SetClock = field(default_factory=SetClock)
    scrubber: Scrubber = field(default_factory=Scrubber)

    def raw(self) -> bytes:
        """All bytes on disk, those of the write-ahead log included."""
        return b"".join(file.read_bytes() for file in sorted(self.path.parent.iterdir()))

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """What any SQLite tool would read."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query, values).fetchall()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state" / "hyperguild" / "sessions.db")


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Opener]:
    stores: list[SessionStore] = []

    async def open_store(log: LogPolicy = FULL, *, read_only: bool = False) -> SessionStore:
        store: SessionStore = await SqliteSessionStore.open(
            place.path, scrubber=place.scrubber, log=log, clock=place.clock, read_only=read_only
        )
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        await store.aclose()


def run_start(
    name: str = "run-1111",
    *,
    session: str = "session-1111",
    created_at: datetime = NOON,
    task: str = "do",
    skill: str = "review",
    images: int = 0,
) -> RunStart:
    return RunStart(
        run_id=name,
        session_id=session,
        skill=skill,
        chain="code",
        task=task,
        images=images,
        created_at=created_at,
        lease_expires_at=created_at + timedelta(seconds=15),
    )


def refused(name: str = "attempt-1", **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "attempt_id": name,
        "position": 0,
        "model": "phi4",
        "tier": "local",
        "endpoint": "swap",
        "warm_state": "cold",
        "duration_ms": 5230,
        "load_ms": 3900,
        "first_token_ms": 200,
        "verify_ms": 310,
        "verdict": "escalate",
        "cause": "rejected",
        "score": 0.35,
        "feedback": "names no file",
        "answer": "It is fine. Ünïcode: 漢字",
        "finish_reason": "stop",
        "retries": 1,
        "checks": (
            CheckResult(kind="not_empty", passed=True),
            CheckResult(kind="regex", passed=False, message="no ##"),
        ),
        "usage": Usage(input_tokens=100, output_tokens=20),
        "verifier": JudgeUse(model="qwen3-8b", usage=Usage(input_tokens=50, output_tokens=9)),
        "started_at": NOON,
    }
    return Attempt(**fields | changes)


def failed(name: str, message: str = "no route to host") -> Attempt:
    return Attempt(
        attempt_id=name,
        position=1,
        model="claude-sonnet-4-6",
        tier="subagent",
        endpoint="anthropic",
        verdict="error",
        cause="server",
        error=ErrorInfo(kind="server", message=message, status=502, retryable=True),
        cost_usd=None,
    )


def step(attempt_id: str, name: str = "step-1", content: str = "hello") -> Step:
    return Step(
        step_id=name,
        attempt_id=attempt_id,
        position=0,
        messages=({"role": "user", "content": content}, {"role": "assistant", "content": "hi"}),
        usage=Usage(input_tokens=100, output_tokens=20),
        context_limit=16384,
        duration_ms=900,
        pending_tool_calls=({"name": "read", "arguments": {"path": content}},),
        created_at=NOON,
    )


def result_of(run: RunStart, attempts: Sequence[Attempt], **changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "run_id": run.run_id,
        "session_id": run.session_id,
        "skill": run.skill,
        "chain": run.chain,
        "status": "accepted",
        "output": "the answer",
        "model": "phi4",
        "tier": "local",
        "duration_ms": 8123,
        "best_attempt_id": attempts[-1].attempt_id if attempts else None,
        "usage": Usage(input_tokens=150, output_tokens=29),
        "cost_usd": 0.25,
        "attempts": tuple(attempts),
    }
    return RunResult(**fields | changes)


async def test_a_finished_run_reads_back_as_the_result_object(opened: Opener) -> None:
    store, run = await opened(), run_start(task="the task\nand more", images=2)
    attempts = [refused(), failed("attempt-2"), refused("attempt-3", verdict="accept", cause=None, score=0.9)]
    await store.start_run(run)
    for attempt in attempts:
        await store.record_attempt(
            run.run_id, attempt, [step(attempt.attempt_id, f"of-{attempt.attempt_id}")]
        )
    result = result_of(run, attempts)
    await store.finish_run(result, NOON + timedelta(seconds=8))

    stored = await store.run(run.run_id)
    assert stored is not None
    assert stored.result == result
    assert (stored.task, stored.images) == (run.task, 2)
    assert (stored.created_at, stored.finished_at) == (NOON, NOON + timedelta(seconds=8))
    assert stored.steps == tuple(step(a.attempt_id, f"of-{a.attempt_id}") for a in attempts)
    assert await store.session_runs(run.session_id) == [stored]
    assert await store.run("run-9999") is None
    assert await store.session_runs("session-9999") == []


async def test_any_sqlite_tool_reads_the_columns_of_the_contract(place: Place, opened: Opener) -> None:
    store, run = await opened(), run_start()
    await store.start_run(run)
    await store.record_attempt(run.run_id, refused(), [step("attempt-1")])

    def columns(table: str) -> set[str]:
        return {row[0] for row in place.rows("SELECT name FROM pragma_table_info(?)", table)}

    assert columns("sessions") >= {"session_id", "created_at", "title"}
    runs = set(RunResult.model_fields) - {"attempts"}
    assert columns("runs") >= runs | {"task", "images", "created_at", "finished_at", "lease_expires_at"}
    assert columns("attempts") == (
        set(Attempt.model_fields) | {"run_id", "skill", "chain", "run_created_at", "label", "text_id"}
    )
    assert columns("steps") == set(Step.model_fields) | {"run_id"}
    query = "SELECT started_at, answer, usage, json_extract(checks, '$[1].message'), rowid FROM attempts"
    assert place.rows(query) == [
        (
            "2026-03-01T12:00:00.123Z",
            "It is fine. Ünïcode: 漢字",
            '{"input_tokens":100,"output_tokens":20,"cached_input_tokens":0,"cache_write_tokens":0}',
            "no ##",
            1,
        )
    ]
    assert place.rows("PRAGMA journal_mode") == [("wal",)]


async def test_totals_grow_with_every_attempt(opened: Opener) -> None:
    store, run = await opened(), run_start()
    await store.start_run(run)
    paid = refused("attempt-2", cost_usd=0.5, verifier=JudgeUse(model="j", cost_usd=0.25))
    await store.record_attempt(run.run_id, refused(), [])
    await store.record_attempt(run.run_id, paid, [])

    stored = await store.run(run.run_id)
    assert stored is not None
    assert stored.result.status == "running"
    assert stored.result.usage == Usage(input_tokens=250, output_tokens=49)
    assert stored.result.cost_usd == 0.75
    assert stored.result.duration_ms == 2 * 5230

    await store.record_attempt(run.run_id, failed("attempt-3"), [])
    stored = await store.run(run.run_id)
    assert stored is not None
    assert stored.result.cost_usd is None


async def test_text_that_is_no_unicode_is_stored_all_the_same(opened: Opener) -> None:
    store, run = await opened(), run_start(task="bad \udc80 byte")
    await store.start_run(run)
    await store.record_attempt(
        run.run_id, refused(answer="bad \ud800", feedback="a\0b"), [step("attempt-1", content="\ud801")]
    )
    stored = await store.run(run.run_id)
    assert stored is not None
    assert stored.task == "bad ? byte"
    assert stored.result.attempts[0].answer == "bad ?"
    assert stored.result.attempts[0].feedback == "a\0b"


async def test_sessions_are_listed_by_their_newest_run(opened: Opener) -> None:
    store = await opened()
    runs = [
        run_start("run-a", session="old", created_at=NOON, task=f"\n  {'first line ' * 10}\nsecond"),
        run_start("run-b", session="new", created_at=NOON + timedelta(seconds=1), skill="debug"),
        run_start(
            "run-c", session="old", created_at=NOON + timedelta(seconds=2), task="later", skill="tests"
        ),
        run_start("run-d", session="oldest", created_at=NOON - timedelta(seconds=1), task=" "),
    ]
    for run in runs:
        await store.start_run(run)
    await store.finish_run(result_of(runs[0], [], cost_usd=0.5), NOON)
    await store.finish_run(result_of(runs[1], [], cost_usd=None, status="exhausted"), NOON)

    old, new, oldest = await store.sessions(limit=10)
    assert [old.session_id, new.session_id, oldest.session_id] == ["old", "new", "oldest"]
    assert old.title == ("first line " * 10)[:80].rstrip()
    assert (old.runs, old.skills, old.statuses) == (2, ("review", "tests"), ("accepted", "running"))
    assert (old.created_at, old.cost_usd) == (NOON, 0.5)
    assert (new.cost_usd, new.statuses) == (None, ("exhausted",))
    assert oldest.title is None
    assert [session.session_id for session in await store.sessions(limit=1)] == ["old"]
    assert [run.result.run_id for run in await store.session_runs("old")] == ["run-a", "run-c"]


async def test_references(opened: Opener) -> None:
    store = await opened()
    with pytest.raises(UsageError, match="no run yet"):
        await store.resolve_run("last")
    await store.start_run(run_start("run-0001-aaaa", session="ses-0001-cccc"))
    await store.start_run(
        run_start("run-0002-baaaa", session="ses-0002-dddd", created_at=NOON + timedelta(seconds=1))
    )
    await store.start_run(
        run_start("run-0003-ffff", session="ses-0001-cccc", created_at=NOON + timedelta(seconds=2))
    )

    assert await store.resolve_run("run-0001-aaaa") == "run-0001-aaaa"
    assert await store.resolve_run("ffff") == "run-0003-ffff"
    assert await store.resolve_run("baaaa") == "run-0002-baaaa"
    assert await store.resolve_run("last") == "run-0003-ffff"
    assert await store.resolve_session("last") == "ses-0001-cccc"
    assert await store.resolve_session("dddd") == "ses-0002-dddd"
    assert await store.resolve_session("ses-0002-dddd") == "ses-0002-dddd"
    assert await store.resolve_session("cccc") == "ses-0001-cccc"
    assert await store.resolve_session("run-0002-baaaa") == "ses-0002-dddd"
    assert await store.resolve_session("3-ffff") == "ses-0001-cccc"
    with pytest.raises(UsageError, match="2 runs end in 'aaaa'") as ambiguous:
        await store.resolve_run("aaaa")
    assert "run-0001-aaaa (review, 2026-03-01T12:00:00.123Z)" in str(ambiguous.value.hint)
    with pytest.raises(UsageError, match="2 sessions end in 'aaaa'"):
        await store.resolve_session("aaaa")
    with pytest.raises(UsageError) as short:
        await store.resolve_run("fff")
    assert "at least 4" in str(short.value.hint)
    for nothing in ("%%%%", "____", "xxxx", ""):
        with pytest.raises(UsageError):
            await store.resolve_session(nothing)


async def test_a_run_whose_lease_ran_out_is_interrupted(place: Place, opened: Opener) -> None:
    store, run = await opened(), run_start()
    await store.start_run(run)

    async def status() -> str:
        stored = await store.run(run.run_id)
        assert stored is not None
        return stored.result.status

    assert await status() == "running"
    place.clock.time = NOON + timedelta(seconds=16)
    assert await status() == "interrupted"
    assert (await store.sessions(limit=1))[0].statuses == ("interrupted",)
    assert place.rows("SELECT status FROM runs") == [("running",)]

    await (await opened()).aclose()
    assert place.rows("SELECT status FROM runs") == [("interrupted",)]
    # It was only stopped for a while (a laptop asleep).
    await store.renew_lease(run.run_id, place.clock.time + timedelta(seconds=15))
    assert await status() == "running"
    await store.finish_run(result_of(run, []), place.clock.time)
    await store.renew_lease(run.run_id, place.clock.time + timedelta(seconds=15))
    assert await status() == "accepted"


async def test_runs_older_than_keep_days_are_deleted(place: Place, opened: Opener) -> None:
    store = await opened()
    old, young = NOON - timedelta(days=31), NOON - timedelta(days=29)
    for run in (
        run_start("run-old", session="mixed", created_at=old, task="old xyzzy task"),
        run_start("run-young", session="mixed", created_at=young, task="young task"),
        run_start("run-alone", session="alone", created_at=old, task="alone xyzzy task"),
    ):
        await store.start_run(run)
        attempt = refused(f"of-{run.run_id}", answer=f"{run.task} answer")
        await store.record_attempt(
            run.run_id, attempt, [step(attempt.attempt_id, f"step-{run.run_id}", run.task)]
        )
        await store.finish_run(result_of(run, []), run.created_at)
    await store.aclose()

    await (await opened(LogPolicy(keep_days=None))).aclose()
    await (await opened(LogPolicy(keep_days=10**9))).aclose()
    assert place.rows("SELECT count(*) FROM runs") == [(3,)]
    await (await opened(LogPolicy(keep_days=30))).aclose()
    assert place.rows("SELECT run_id FROM runs") == [("run-young",)]
    assert place.rows("SELECT session_id, title FROM sessions") == [("mixed", "young task")]
    assert place.rows("SELECT attempt_id FROM attempts") == [("of-run-young",)]
    assert place.rows("SELECT step_id FROM steps") == [("step-run-young",)]
    assert b"xyzzy" not in place.raw()


@pytest.mark.parametrize(
    ("content", "kept", "left_out"),
    [
        ("full", ["TASK", "OUTPUT", "ANSWER", "MESSAGE", "CALL", "FEEDBACK", "CHECK", "FAULT"], []),
        ("metadata", ["FEEDBACK", "CHECK", "FAULT"], ["TASK", "OUTPUT", "ANSWER", "MESSAGE", "CALL"]),
        ("none", [], ["TASK", "OUTPUT", "ANSWER", "MESSAGE", "CALL", "FEEDBACK", "CHECK", "FAULT"]),
    ],
)
async def test_the_policy_decides_what_reaches_the_disk(
    place: Place, opened: Opener, content: Any, kept: list[str], left_out: list[str]
) -> None:
    store, run = await opened(LogPolicy(content=content)), run_start(task="TASK-secret\nTASK-more")
    await store.start_run(run)
    attempt = refused(
        answer="ANSWER-secret",
        feedback="FEEDBACK-secret",
        checks=(CheckResult(kind="regex", passed=False, message="CHECK-secret"),),
        error=ErrorInfo(kind="server", message="FAULT-secret"),
    )
    messages = ({"role": "user", "content": "MESSAGE-secret"},)
    calls = ({"name": "read", "arguments": '{"path":"CALL-secret"}'},)
    one = step("attempt-1").model_copy(update={"messages": messages, "pending_tool_calls": calls})
    await store.record_attempt(run.run_id, attempt, [one])
    await store.finish_run(result_of(run, [attempt], output="OUTPUT-secret"), NOON)

    def check() -> None:
        raw = place.raw()
        assert [word for word in kept if f"{word}-secret".encode() not in raw] == []
        assert [word for word in left_out if f"{word}-secret".encode() in raw] == []

    check()
    stored = await store.run(run.run_id)
    assert stored is not None
    assert stored.result.attempts[0].verdict == "escalate"
    assert stored.result.attempts[0].score == 0.35
    assert stored.result.attempts[0].checks[0].kind == "regex"
    assert stored.steps[0].usage == Usage(input_tokens=100, output_tokens=20)
    assert (stored.task is None) is (content != "full")
    await store.aclose()
    check()


async def test_no_secret_reaches_the_disk(place: Place, opened: Opener) -> None:
    value, shape = 'pa"ss\\word-käse', "ghp_" + "a1B2" * 9
    place.scrubber.learn("SWAP_KEY", value)
    store = await opened()
    said = f"x {value} {shape}"
    run = run_start(task=f"{'t' * 70} {shape}")
    await store.start_run(run)
    attempt = refused(
        answer=said, feedback=said, checks=(CheckResult(kind="command", passed=False, message=said),)
    )
    await store.record_attempt(run.run_id, attempt, [step("attempt-1", content=said)])
    await store.record_attempt(run.run_id, failed("attempt-2", said), [])
    await store.finish_run(result_of(run, [attempt], output=said), NOON)

    stored = await store.run(run.run_id)
    assert stored is not None
    safe = "x [secret:SWAP_KEY] [secret:github]"
    first, second = stored.result.attempts
    assert [first.answer, first.feedback, first.checks[0].message, stored.result.output] == [safe] * 4
    assert second.error is not None
    assert second.error.message == safe
    assert stored.steps[0].messages[0]["content"] == safe
    assert stored.steps[0].pending_tool_calls[0]["arguments"] == {"path": safe}
    while_open = place.raw()
    await store.aclose()
    for raw in (while_open, place.raw()):
        for trace in (b"ss\\word", b"a1B2", "word-käse".encode(), b"ghp_"):
            assert trace not in raw


async def test_an_attempt_and_its_steps_are_stored_together_or_not_at_all(opened: Opener) -> None:
    store, run = await opened(), run_start()
    await store.start_run(run)
    with pytest.raises(StoreError, match="refused"):
        await store.record_attempt(run.run_id, refused(), [step("attempt-1"), step("attempt-1")])
    stored = await store.run(run.run_id)
    assert stored is not None
    assert (stored.result.attempts, stored.steps, stored.result.usage) == ((), (), Usage())
    await store.record_attempt(run.run_id, refused(), [step("attempt-1")])


async def test_a_cancelled_write_is_carried_out(place: Place, opened: Opener) -> None:
    store, run = await opened(), run_start()
    await store.start_run(run)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(store.record_attempt(run.run_id, refused(), [step("attempt-1")]))
        second = asyncio.create_task(store.record_attempt(run.run_id, refused("attempt-2"), []))
        await asyncio.sleep(0.05)
        first.cancel()
        second.cancel()
        for task in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert other.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
        other.execute("ROLLBACK")
    await store.aclose()
    assert place.rows("SELECT attempt_id FROM attempts") == [("attempt-1",), ("attempt-2",)]
    assert place.rows("SELECT step_id FROM steps") == [("step-1",)]


async def test_a_cancelled_write_that_fails_is_nobodys_concern(place: Place, opened: Opener) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    store = await opened()
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.record_attempt("run-unknown", refused(), []))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        other.execute("ROLLBACK")
    await store.aclose()
    gc.collect()
    assert complaints == []


async def test_faults_are_told_in_one_line_with_what_to_do(place: Place, opened: Opener) -> None:
    store = await opened()
    with pytest.raises(StoreError, match="holds no run run-9999") as unknown:
        await store.record_attempt("run-9999", refused(), [])
    assert unknown.value.hint
    with pytest.raises(StoreError, match="holds no run"):
        await store.finish_run(result_of(run_start("run-9999"), []), NOON)
    await store.start_run(run_start())
    with pytest.raises(StoreError, match="refused a statement"):
        await store.start_run(run_start())
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("UPDATE runs SET usage = '[' ")
    with pytest.raises(StoreError, match="run run-1111 that cannot be read"):
        await store.run("run-1111")
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="is closed"):
        await store.run("run-1111")
    place.path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StoreError, match="damaged, or not an SQLite file") as damaged:
        await opened()
    assert "sessions repair" in str(damaged.value.hint)
    with pytest.raises(StoreError, match="damaged"):
        await opened(read_only=True)


async def test_a_full_disk(place: Place) -> None:
    store = await SqliteSessionStore.open(place.path, scrubber=place.scrubber, log=FULL, clock=place.clock)
    run = run_start()
    await store.start_run(run)
    await store._thread.write(lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchall())
    with pytest.raises(StoreError, match="no room left"):
        await store.record_attempt(run.run_id, refused(answer="x" * 1_000_000), [])
    await store.record_attempt(run.run_id, refused(), [])
    await store.aclose()
    assert place.rows("SELECT answer FROM attempts") == [(refused().answer,)]


async def test_a_log_that_another_program_locks(place: Place, opened: Opener) -> None:
    store = await opened()
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            await store.start_run(run_start())
        assert await store.sessions(limit=5) == []
    await store.start_run(run_start())


async def test_c12_delegated_runs_are_no_runs_of_their_own(opened: Opener) -> None:
    store = await opened()
    old = NOON - timedelta(days=1)
    parent = run_start("run-parent", created_at=old - timedelta(seconds=1))
    child = run_start("run-child", skill="work", created_at=old + timedelta(seconds=1))
    child = child.model_copy(update={"parent_run_id": "run-parent"})
    for run in (parent, child):
        await store.start_run(run)
        await store.finish_run(result_of(run, []), run.created_at)
    (summary,) = await store.sessions(limit=5)
    assert (summary.runs, summary.skills) == (1, ("review",))
    assert await store.resolve_run("last") == "run-parent"
    assert [run.parent_run_id for run in await store.session_runs("session-1111")] == [None, "run-parent"]
    await store.aclose()
    # the parent is a second too old, the child is not: they go together
    store = await opened(LogPolicy(keep_days=1))
    assert await store.session_runs("session-1111") == []
    assert await store.sessions(limit=5) == []


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_newer_log_is_refused(place: Place, opened: Opener, *, read_only: bool) -> None:
    await (await opened()).aclose()
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (999, 'future', '9.9.9')")
        connection.execute("PRAGMA user_version = 999")
    before = place.path.read_bytes()
    with pytest.raises(StoreVersionError, match=r"version 999 \(hyperguild 9\.9\.9\).*up to \d+$") as newer:
        await opened(read_only=read_only)
    assert str(place.path) in newer.value.message
    assert newer.value.exit_code == 3
    assert place.path.read_bytes() == before


async def test_files_and_folders_are_private(place: Place, opened: Opener) -> None:
    existing = place.path.parent.parent
    existing.mkdir(mode=0o755)
    existing.chmod(0o755)
    store = await opened()
    await store.start_run(run_start())
    assert stat.S_IMODE(existing.stat().st_mode) == 0o755
    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in place.path.parent.iterdir()}
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


async def test_reading_makes_nothing_and_changes_nothing(place: Place, opened: Opener) -> None:
    with pytest.raises(StoreError, match="no session log yet at") as missing:
        await opened(read_only=True)
    assert missing.value.hint
    assert not place.path.parent.exists()

    writer, run = await opened(), run_start()
    await writer.start_run(run)
    reader = await opened(read_only=True)
    assert await reader.resolve_session("last") == run.session_id
    with pytest.raises(StoreError, match="cannot be written"):
        await reader.start_run(run_start("run-2222"))
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE runs SET skill = 'changed'")
        stored = await reader.run(run.run_id)
        assert stored is not None
        assert stored.result.skill == "review"
    await writer.record_attempt(run.run_id, refused(), [])
    stored = await reader.run(run.run_id)
    assert stored is not None
    assert len(stored.result.attempts) == 1


_WRITER = """
import asyncio, itertools, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from hyperguild.adapters.store.breakers import peek_breakers
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunStart, Step
from hyperguild.domain.secrets import Scrubber

class SystemClock:
    def monotonic(self): return 0.0
    def now(self): return datetime.now(UTC)
    async def sleep(self, seconds): raise NotImplementedError

async def main(path, run_id, count):
    now = datetime.now(UTC)
    store = await SqliteSessionStore.open(Path(path), scrubber=Scrubber(), log=LogPolicy(),
                                          clock=SystemClock())
    await store.start_run(RunStart(run_id=run_id, session_id="shared", skill="s", chain="c", task="t",
                                   created_at=now, lease_expires_at=now + timedelta(hours=1)))
    for number in itertools.islice(itertools.count(), count):
        attempt_id = f"{run_id}-{number}"
        attempt = Attempt(attempt_id=attempt_id, position=number, model="m", tier="local", endpoint="e",
                          verdict="escalate", answer="x" * 5000)
        step = Step(step_id=attempt_id, attempt_id=attempt_id, position=0, messages=(), created_at=now)
        await store.record_attempt(run_id, attempt, [step])
        print(attempt_id, flush=True)
    await store.aclose()

path, run_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if sys.argv[3] else None
children = []
for number in range(int(sys.argv[4])):
    children.append(os.fork())
    if not children[-1]:
        asyncio.run(main(path, f"{run_id}-{number}", count))
        os._exit(0)
if not children:
    asyncio.run(main(path, run_id, count))
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def writer_process(path: Path, run_id: str, count: int | None, children: int = 0) -> subprocess.Popen[str]:
    """Start a process that writes, or one whose children do: with imports done, they begin at once."""
    arguments = [sys.executable, "-c", _WRITER, str(path), run_id, str(count or ""), str(children)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_content(path: Path) -> None:
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.01)


async def test_many_processes_open_and_write_at_once_while_one_reads(place: Place, opened: Opener) -> None:
    whole = {f"run-{number}": [f"run-{number}-{count}" for count in range(15)] for number in range(8)}
    process = writer_process(place.path, "run", 15, children=8)
    writing = asyncio.create_task(asyncio.to_thread(process.communicate, timeout=60))
    await asyncio.to_thread(wait_for_content, place.path)
    reader = await opened(read_only=True)
    reads = 0
    while not writing.done():
        for run in await reader.session_runs("shared"):
            seen = [attempt.attempt_id for attempt in run.result.attempts]
            assert seen == whole[run.result.run_id][: len(seen)]
            assert [item.step_id for item in run.steps] == seen
            reads += 1
        await asyncio.sleep(0.02)
    _, errors = await writing
    assert (process.returncode, errors) == (0, "")
    assert reads > 0
    runs = await (await opened()).session_runs("shared")
    attempts = {run.result.run_id: [one.attempt_id for one in run.result.attempts] for run in runs}
    assert attempts == whole
    assert {run.result.run_id: [item.step_id for item in run.steps] for run in runs} == whole


async def test_a_killed_process_loses_no_attempt_it_was_told_is_stored(place: Place, opened: Opener) -> None:
    place.clock.time = datetime.now(UTC)
    process = writer_process(place.path, "run-killed", None)
    assert process.stdout is not None
    told = [await asyncio.to_thread(process.stdout.readline) for _ in range(20)]
    store = await opened(read_only=True)
    before = await store.run("run-killed")
    process.kill()
    with process:
        # Not `communicate`: it reads past what `readline` has in its buffer.
        rest = await asyncio.to_thread(process.stdout.read)
    after = await store.run("run-killed")

    assert before is not None
    assert after is not None
    assert before.result.status == "running"
    # Its lease has an hour to go: that the process is gone is enough.
    assert after.result.status == "interrupted"
    acknowledged = [line.strip() for line in [*told, *rest.splitlines()] if line.strip()]
    stored = [attempt.attempt_id for attempt in after.result.attempts]
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) <= len(acknowledged) + 1
    assert [item.step_id for item in after.steps] == stored
    await (await opened()).aclose()
    assert place.rows("SELECT status FROM runs") == [("interrupted",)]


async def test_opening_that_is_cancelled_leaves_nothing_locked(place: Place, opened: Opener) -> None:
    await (await opened()).aclose()
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(opened())
        await asyncio.sleep(0.05)
        opening.cancel()
        other.execute("ROLLBACK")
        with contextlib.suppress(asyncio.CancelledError):
            await opening
    await (await opened()).start_run(run_start())


def breaker(key: str = "k1", **changes: Any) -> BreakerRecord:
    fields: dict[str, Any] = {
        "key": key,
        "endpoint": "swap",
        "model": "phi4",
        "failures": 5,
        "openings": 1,
        "since": NOON,
        "opened_at": NOON,
        "open_until": NOON + timedelta(seconds=30),
        "error_kind": "server",
        "error": "boom",
        "changed_at": NOON,
    }
    return BreakerRecord(**{**fields, **changes})


async def test_breakers_are_there_for_the_next_process(opened: Opener, place: Place) -> None:
    store = await opened()
    whole = breaker("k2", model=None, since=None, opened_at=None, open_until=None, failures=1)
    await store.keep_breakers([breaker(), whole], gone=[])
    assert await (await opened(read_only=True)).breakers() == [whole, breaker()]
    assert peek_breakers(place.path) == [whole, breaker()]
    await store.keep_breakers([breaker(failures=6)], gone=["k2", "k3"])
    assert await store.breakers() == [breaker(failures=6)]


async def test_breakers_that_nobody_touched_for_long_are_forgotten(opened: Opener, place: Place) -> None:
    store = await opened()
    await store.keep_breakers([breaker()], gone=[])
    place.clock.time += timedelta(days=3)
    later = breaker("k2", changed_at=place.clock.time)
    await store.keep_breakers([later], gone=[])
    assert await store.breakers() == [later]


async def test_errors_of_breakers_are_scrubbed_and_left_out_where_nothing_is_logged(
    opened: Opener, place: Place
) -> None:
    place.scrubber.learn("CLOUD_KEY", "made-up-key-0123456789")
    said = breaker(error="the key made-up-key-0123456789 is refused")
    await (await opened()).keep_breakers([said], gone=[])
    assert b"made-up-key" not in place.raw()
    await (await opened(LogPolicy(content="none"))).keep_breakers([said], gone=[])
    assert [one.error for one in await (await opened()).breakers()] == [""]


def test_breakers_of_a_file_that_cannot_be_read_are_not_taken_for_none(place: Place) -> None:
    assert peek_breakers(place.path) == []
    place.path.parent.mkdir(parents=True)
    open_for_writing(place.path, program_version="1", migrations=MIGRATIONS[:3]).close()
    assert peek_breakers(place.path) == [], "a file that is older than breakers are"
    place.path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="is damaged, or not an SQLite file"):
        peek_breakers(place.path)


async def test_breakers_in_which_there_is_no_sense_are_not_taken_for_none(
    opened: Opener, place: Place
) -> None:
    await (await opened()).keep_breakers([breaker()], gone=[])
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("UPDATE breakers SET open_until = 'tomorrow'")
    with pytest.raises(StoreError, match="no sense can be made of the breakers") as error:
        peek_breakers(place.path)
    assert "sessions repair" in str(error.value.hint)
    store = await opened()
    with pytest.raises(StoreError):
        await store.breakers()
    await store.aclose()
    done = repair(place.path, program_version="1", now=place.clock.time, sleep=lambda _: None)
    assert done.faults == ("breakers: 1 row of which no sense can be made",)
    assert peek_breakers(place.path) == []
