"""The contract of `ports.Ledger`: what runs share is never overspent, whatever process they are in."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hyperguild.adapters.store.ledger import spent_query
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.limits import UNITS, Allotment, Amount, Limits, Scope
from hyperguild.domain.records import Attempt, JudgeUse, ModelUse, RunResult, RunStart
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage
from hyperguild.errors import StoreError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Limits(day=Allotment(cost_usd=20.0))
TIMES = "reservation_id, settled, recorded, cost_usd"

WORKER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.limits import Allotment, Amount, Limits
from hyperguild.domain.records import RunStart
from hyperguild.domain.secrets import Scrubber

path, name, limits = Path(sys.argv[1]), sys.argv[2], Limits(day=Allotment(cost_usd=20.0))

async def main():
    clock = SystemClock()
    store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=clock)
    await store.start_run(RunStart(run_id=name, session_id="s", skill="k", chain="c", task="t",
                                   created_at=clock.now(), lease_expires_at=clock.now() + timedelta(hours=1)))
    number = 0
    while command := (await asyncio.to_thread(sys.stdin.readline)).split():
        if command[0] == "reserve":
            keys = [f"{name}-{number + index}" for index in range(int(command[1]))]
            number += len(keys)
            answers = await asyncio.gather(*(store.ledger.reserve(name, key, Amount(1.0), limits)
                                             for key in keys))
            granted = [key for key, refused in zip(keys, answers) if refused is None]
            print(len(granted), flush=True)
        else:
            for key in granted:
                await store.ledger.settle(key, name, Amount(float(command[1])))
            print(len(granted), flush=True)
    await store.aclose()

asyncio.run(main())
"""


@dataclass
class Worker:
    """A process with a run of its own over the same log."""

    process: subprocess.Popen[str]

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def heard(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def worker(path: Path, name: str) -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


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


@dataclass
class Bench:
    """A log, and short ways to ask its ledger."""

    store: SqliteSessionStore
    path: Path
    clock: SetClock
    limits: Limits = DAY
    asked: int = field(default=0)

    async def start(self, run_id: str, *, session: str = "s", parent: str | None = None) -> None:
        start = RunStart(
            run_id=run_id,
            session_id=session,
            skill="k",
            chain="c",
            task="t",
            parent_run_id=parent,
            created_at=self.clock.time,
            lease_expires_at=self.clock.time + timedelta(seconds=15),
        )
        await self.store.start_run(start)

    async def reserve(self, run_id: str, usd: float = 0.0, tokens: int = 0, attempts: int = 0) -> str | None:
        """Return the key of what was granted, None where it was refused."""
        self.asked += 1
        key, ask = f"key-{self.asked}", Amount(usd, tokens, attempts)
        return None if await self.store.ledger.reserve(run_id, key, ask, self.limits) else key

    async def spend(self, run_id: str, usd: float, **more: int) -> None:
        key = await self.reserve(run_id, usd, **more)
        assert key is not None
        await self.store.ledger.settle(key, run_id, Amount(usd, **more))

    async def left(self, session: str | None = None) -> list[float]:
        return [one.left for one in await self.store.ledger.standings(session, self.limits)]

    def rows(self, query: str = f"SELECT {TIMES} FROM reservations") -> list[tuple[Any, ...]]:  # noqa: S608
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock, path = SetClock(), tmp_path / "s.db"
    store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=clock)
    yield Bench(store, path, clock)
    await store.aclose()


def attempt(usd: float = 0.0, name: str = "a", **fields: Any) -> Attempt:
    known = {"attempt_id": name, "position": 0, "model": "m", "tier": "managed", "endpoint": "e"}
    return Attempt.model_validate({**known, "verdict": "accept", "cost_usd": usd, **fields})


def finished(run_id: str, usd: float, status: str = "accepted", **fields: Any) -> RunResult:
    known = {"run_id": run_id, "session_id": "s", "skill": "k", "chain": "c", "status": status}
    return RunResult.model_validate({**known, "cost_usd": usd, **fields})


def test_two_processes_at_once_are_granted_no_more_than_the_limit(tmp_path: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(tmp_path / "s.db", name)) for name in ("one", "two")]
        for one in workers:
            one.tell("reserve 25")
        assert sum(one.heard() for one in workers) == 20
        for one in workers:
            one.tell("settle 0.5")
        assert sum(one.heard() for one in workers) == 20
        for one in workers:
            one.tell("reserve 25")
        assert sum(one.heard() for one in workers) == 10


async def test_what_a_killed_process_reserved_is_released_and_what_it_spent_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with worker(path, "killed") as doomed:
        for command, answer in (("reserve 5", 5), ("settle 1", 5), ("reserve 25", 15)):
            doomed.tell(command)
            assert doomed.heard() == answer
        clock = SetClock(datetime.now(UTC))
        store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=clock)
        bench = Bench(store, path, clock)
        await bench.start("next")
        assert await bench.reserve("next", 1.0) is None
        assert await bench.left() == [0.0]
        doomed.process.kill()
        doomed.process.wait()
        assert await bench.left() == [15.0]
        assert await bench.reserve("next", 15.5) is None
        assert await bench.reserve("next", 15.0) is not None
        await store.aclose()


async def test_what_is_settled_only_once_its_attempt_is_on_record_counts_once(bench: Bench) -> None:
    await bench.start("r")
    late, of_next = await bench.reserve("r", 8.0), await bench.reserve("r", 1.0)
    assert late is not None
    assert of_next is not None
    await bench.store.record_attempt("r", attempt(3.0), ())
    await bench.store.ledger.settle(of_next, "r", Amount(1.0))
    await bench.store.ledger.settle(late, "r", Amount(3.0), on_record=True)
    assert await bench.left() == [16.0]
    assert bench.rows("SELECT reservation_id, recorded FROM reservations") == [(of_next, 0)]


async def test_what_is_settled_late_on_a_later_day_counts_for_that_day(bench: Bench) -> None:
    await bench.start("r")
    key = await bench.reserve("r", 8.0)
    assert key is not None
    bench.clock.time += timedelta(days=1)
    await bench.store.record_attempt("r", attempt(3.0), ())
    await bench.store.ledger.settle(key, "r", Amount(3.0), on_record=True)
    assert await bench.left() == [17.0]


async def test_nothing_falls_through_between_a_call_and_its_attempt_on_record(bench: Bench) -> None:
    await bench.start("r")
    key = await bench.reserve("r", 8.0)
    assert key is not None
    assert await bench.left() == [12.0]
    await bench.store.ledger.settle(key, "r", Amount(3.0))
    assert await bench.left() == [17.0]
    await bench.store.record_attempt("r", attempt(3.0), ())
    assert await bench.left() == [17.0]
    assert bench.rows() == []
    await bench.spend("r", 2.0)
    await bench.store.finish_run(finished("r", 5.0), bench.clock.time)
    assert await bench.left() == [15.0]
    assert bench.rows() == []


async def test_a_call_that_used_nothing_leaves_nothing(bench: Bench) -> None:
    await bench.start("r")
    key = await bench.reserve("r", 8.0)
    assert key is not None
    await bench.store.ledger.settle(key, "r", Amount())
    assert (await bench.left(), bench.rows()) == ([20.0], [])


async def test_a_reservation_left_open_ends_with_its_run(bench: Bench) -> None:
    await bench.start("r")
    await bench.reserve("r", 8.0)
    await bench.store.record_attempt("r", attempt(), ())
    assert await bench.left() == [12.0]  # another call of the run may be under way
    await bench.store.finish_run(finished("r", 0.0), bench.clock.time)
    assert (await bench.left(), bench.rows()) == ([20.0], [])


async def test_a_call_that_outlives_its_release_is_still_counted(bench: Bench) -> None:
    await bench.start("r")
    key = await bench.reserve("r", 8.0)
    assert key is not None
    with closing(sqlite3.connect(bench.path)) as connection:
        connection.execute("DELETE FROM reservations")
        connection.commit()
    await bench.store.ledger.settle(key, "r", Amount(3.0))
    assert await bench.left() == [17.0]


async def test_a_delegated_run_counts_once(bench: Bench) -> None:
    bench.limits = Limits(day=Allotment(cost_usd=20.0, attempts=9))
    await bench.start("parent")
    await bench.spend("parent", 1.0, attempts=1)
    await bench.start("child", parent="parent")
    await bench.spend("child", 4.0)
    assert await bench.left() == [15.0, 8.0]
    await bench.store.record_attempt("child", attempt(4.0, "of-child"), ())
    await bench.store.finish_run(finished("child", 4.0), bench.clock.time)
    assert await bench.left() == [15.0, 8.0]
    aside = ModelUse(model="m", purpose="delegate", cost_usd=4.0)
    await bench.store.record_attempt("parent", attempt(1.0, asides=(aside,)), ())
    assert (await bench.left(), bench.rows()) == ([15.0, 8.0], [])


async def test_tokens_of_model_and_judge_and_attempts_are_counted(bench: Bench) -> None:
    bench.limits = Limits(session=Allotment(tokens=100, attempts=2), day=Allotment(attempts=3))
    await bench.start("r")
    usage = Usage(input_tokens=10, output_tokens=5, cached_input_tokens=8)
    judge = JudgeUse(model="j", usage=Usage(input_tokens=7, output_tokens=3))
    await bench.store.record_attempt("r", attempt(verifier=judge, usage=usage), ())
    await bench.store.record_attempt("r", attempt(0.0, "skipped", verdict="skip"), ())
    assert await bench.left("s") == [75, 1, 2]
    await bench.start("other", session="s2")
    assert await bench.left("s2") == [100, 2, 2]
    assert await bench.reserve("other", attempts=1) is not None
    assert await bench.reserve("r", attempts=1) is not None
    assert await bench.reserve("other", attempts=1) is None
    assert await bench.left() == [0]


async def test_a_day_ends_at_midnight_utc(bench: Bench) -> None:
    bench.limits = Limits(session=Allotment(cost_usd=100.0), day=Allotment(cost_usd=20.0))
    bench.clock.time = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    await bench.start("r")
    await bench.spend("r", 15.0)
    assert await bench.left("s") == [85.0, 5.0]
    bench.clock.time += timedelta(minutes=2)
    assert await bench.left("s") == [85.0, 20.0]
    await bench.spend("r", 6.0)  # on the next day, by a run of the day before
    assert await bench.left("s") == [79.0, 14.0]
    await bench.store.record_attempt("r", attempt(21.0), ())
    assert await bench.left("s") == [79.0, 14.0]
    bench.clock.time += timedelta(days=1)
    assert await bench.left("s") == [79.0, 20.0]
    assert await bench.reserve("r", 1.0) is not None
    assert len(bench.rows()) == 1  # what counted for a day that is over is gone


async def test_what_a_paused_run_spent_counts_while_it_goes_on(bench: Bench) -> None:
    await bench.start("r")
    await bench.spend("r", 5.0)
    paused = finished("r", 5.0, "awaiting_tools", usage=Usage(input_tokens=9))
    await bench.store.finish_run(paused, bench.clock.time)
    assert await bench.left() == [15.0]
    await bench.store.resume_run("r", bench.clock.time + timedelta(seconds=15))
    assert await bench.left() == [15.0]
    await bench.spend("r", 1.0)
    await bench.store.record_attempt("r", attempt(6.0), ())
    assert (await bench.left(), bench.rows()) == ([14.0], [])


async def test_what_was_spent_before_a_pause_does_not_count_for_the_day_on_which_the_run_goes_on(
    bench: Bench,
) -> None:
    await bench.start("r")
    await bench.spend("r", 5.0)
    await bench.store.finish_run(finished("r", 5.0, "awaiting_tools"), bench.clock.time)
    bench.clock.time += timedelta(days=1)
    await bench.store.resume_run("r", bench.clock.time + timedelta(seconds=15))
    assert await bench.left() == [20.0]
    await bench.spend("r", 1.0)
    assert await bench.left() == [19.0]
    await bench.store.record_attempt("r", attempt(6.0), ())
    assert await bench.left() == [19.0]


async def test_an_attempt_that_goes_on_after_an_interruption_is_one_attempt(bench: Bench) -> None:
    bench.limits = Limits(session=Allotment(attempts=1, cost_usd=20.0))
    await bench.start("r")
    await bench.spend("r", 5.0, attempts=1)
    assert await bench.left("s") == [15.0, 0.0]
    bench.clock.time += timedelta(minutes=1)
    await bench.store.resume_run("r", bench.clock.time + timedelta(seconds=15))
    assert await bench.left("s") == [15.0, 1.0]
    await bench.spend("r", 1.0, attempts=1)
    await bench.store.record_attempt("r", attempt(6.0), ())
    assert await bench.left("s") == [14.0, 0.0]


async def test_a_run_that_the_log_does_not_know_is_granted_nothing(bench: Bench) -> None:
    with pytest.raises(StoreError, match="holds no run nobody"):
        await bench.reserve("nobody", 1.0)
    assert bench.rows() == []


async def test_a_run_that_is_taken_over_has_nothing_under_way(bench: Bench) -> None:
    await bench.start("r")
    await bench.spend("r", 5.0)
    await bench.reserve("r", 10.0)
    bench.clock.time += timedelta(minutes=1)
    await bench.store.resume_run("r", bench.clock.time + timedelta(seconds=15))
    assert await bench.left() == [15.0]


async def test_a_refusal_names_the_limit_and_changes_nothing(bench: Bench) -> None:
    await bench.start("r")
    await bench.spend("r", 19.0)
    before = bench.rows()
    refused = await bench.store.ledger.reserve("r", "k", Amount(3.0), bench.limits)
    assert refused is not None
    assert refused.text("this call") == "the day's limit of $20: $1.00 left, this call may cost up to $3.00"
    assert bench.rows() == before


async def test_a_reservation_whose_caller_is_cancelled_can_be_settled(bench: Bench) -> None:
    await bench.start("r")
    asking = asyncio.create_task(bench.store.ledger.reserve("r", "k", Amount(3.0), bench.limits))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await bench.store.ledger.settle("k", "r", Amount())
    assert (await bench.left(), bench.rows()) == ([20.0], [])


@pytest.mark.parametrize("scope", ["session", "day"])
async def test_sums_are_made_from_indexes_alone(bench: Bench, scope: Scope) -> None:
    """Whatever answers and runs of other days the log holds: a sum does not read them."""
    with closing(sqlite3.connect(bench.path)) as connection:
        for unit in UNITS:
            query = f"EXPLAIN QUERY PLAN {spent_query(scope, unit)}"
            plan = connection.execute(query, {"session": "s", "day": "2026-03-01"}).fetchall()
            assert plan
            for *_, step in plan:
                assert step.startswith("SEARCH "), step
                assert "USING COVERING INDEX" in step, step


async def test_reservations_go_with_their_run(bench: Bench) -> None:
    await bench.start("r")
    await bench.spend("r", 5.0)
    with closing(sqlite3.connect(bench.path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM runs")
        connection.commit()
    assert bench.rows() == []
