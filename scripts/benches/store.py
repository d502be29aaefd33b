"""What the session log of one run costs: its four transactions, against four bare rows of the same size.

Both write an SQLite file (WAL, synchronous=FULL) from one thread that the event loop waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from statistics import median

from measure import Job, machine, ratios, rounds, spread, table

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunResult, RunStart, Step
from hyperguild.domain.secrets import Scrubber

FLOOR = "bare sqlite3"
PROMPT = "Review the code below and name each defect with its line. " * 50
ANSWER = "The loop leaves out the last element. " * 30
"""Some 2,900 and 1,100 characters: an attempt and its step take 5 KB."""

COMMITS = 4
"""Of a run with two attempts: its begin, each attempt, its end."""


def bare(path: Path, thread: ThreadPoolExecutor) -> Job:
    """Return the floor: a JSON row a transaction, committed from a thread."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content TEXT)")

    def commit() -> None:
        connection.execute("INSERT INTO rows (content) VALUES (?)", (PROMPT + 2 * ANSWER,))

    async def job() -> None:
        for _ in range(COMMITS):
            await asyncio.get_running_loop().run_in_executor(thread, commit)

    return job


def logged(store: SqliteSessionStore, clock: SystemClock) -> Job:
    """Return a run as the walk logs it, without the walk."""
    ids = system_ids(clock)

    async def job() -> None:
        run_id, session_id, now = ids.new_id(), ids.new_id(), clock.now()
        names = {"run_id": run_id, "session_id": session_id, "skill": "review", "chain": "default"}
        lease = now + timedelta(seconds=15)
        await store.start_run(RunStart(**names, task=PROMPT, created_at=now, lease_expires_at=lease))
        attempts = []
        for position, verdict in enumerate(("escalate", "accept")):
            attempt = Attempt.model_validate(
                {
                    "attempt_id": ids.new_id(),
                    "position": position,
                    "model": "qwen",
                    "tier": "local",
                    "endpoint": "swap",
                    "verdict": verdict,
                    "answer": ANSWER,
                    "started_at": now,
                }
            )
            said = ({"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWER})
            step = Step(
                step_id=ids.new_id(),
                attempt_id=attempt.attempt_id,
                position=0,
                messages=said,
                created_at=now,
            )
            await store.record_attempt(run_id, attempt, (step,))
            attempts.append(attempt)
        result = RunResult(**names, status="accepted", output=ANSWER, attempts=tuple(attempts))
        await store.finish_run(result, clock.now())

    return job


async def bench(options: argparse.Namespace) -> list[list[str]]:
    """Measure both; return the rows of the table."""
    clock, rows = SystemClock(), []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(max_workers=1) as thread:
        store = await SqliteSessionStore.open(
            Path(name) / "log.db", scrubber=Scrubber(), log=LogPolicy(), clock=clock
        )
        jobs = {FLOOR: bare(Path(name) / "bare.db", thread), "session log": logged(store, clock)}
        for at_once in options.at_once:
            samples = await rounds(jobs, at_once=at_once, count=options.rounds, seconds=options.seconds)
            floor = samples[FLOOR]
            for who, taken in samples.items():
                per_run_ms = [at_once * 1000 / one.per_s for one in taken]
                slower = ratios([one.per_s for one in floor], [one.per_s for one in taken])
                cpu = ratios([one.cpu_ms for one in taken], [one.cpu_ms for one in floor])
                cpu_ms = median(one.cpu_ms for one in taken)
                cells = [f"{median(per_run_ms):.2f}", spread(slower), f"{cpu_ms:.2f}", spread(cpu)]
                rows.append([str(at_once), who, *cells])
        await store.aclose()
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (9)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one leg (0.5)")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16], help="runs at once (1 16)")
    options = parser.parse_args()
    print(f"{machine()}; medians of {options.rounds} rounds\n")
    header = ["at once", "log", "ms/run", "× floor (spread)", "CPU ms/run", "× floor (spread)"]
    print(table(header, asyncio.run(bench(options))))


if __name__ == "__main__":
    main()
