"""Many runs at once over three models that have to share their places."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import pytest
from real.fleet import Bench, iso_date_chains_text, open_engine_bench
from real.processes import servers_of

from hyperguild.adapters.embedded.engine import Change
from hyperguild.domain.events import AnswerDelta, AttemptFinished, Event, Probed
from hyperguild.domain.records import Attempt, RunResult, WarmState

SAMPLE = Path(__file__).parent / "sample.jsonl"
AT_ONCE = 8
COUNT_EVERY_S = 0.1


@dataclass(slots=True)
class Story:
    """What the runs saw and what the engine did, in the order of its happening: a sink and an observer."""

    told: list[Event | Change] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Keep what an attempt begins, goes on and ends with."""
        if isinstance(event, Probed | AnswerDelta | AttemptFinished):
            self.told.append(event)

    def observe(self, change: Change) -> None:
        """Keep the change."""
        self.told.append(change)

    def changes(self) -> list[Change]:
        """Return what the engine did."""
        return [one for one in self.told if isinstance(one, Change)]

    def most_loaded(self) -> int:
        """Return how many models had a place at once, at most."""
        loaded: set[str] = set()
        most = 0
        for change in self.changes():
            if change.state == "starting":
                loaded.add(change.spec.name)
            elif change.state == "cold" and not change.leaving:
                loaded.remove(change.spec.name)
            most = max(most, len(loaded))
        return most

    def attempts(self) -> list[tuple[Attempt, WarmState, bool]]:
        """Return every attempt, its model's state when it was probed, and whether it had to wait for a load.

        A model that serves a request stays loaded. So if it became ready after the probe and before the first
        word of the answer, then the request was not being served before: it waited for that.
        """
        state: dict[str, WarmState] = {}
        probed: dict[str, tuple[str, WarmState]] = {}
        waited: dict[str, bool] = {}
        speaking: set[str] = set()
        found = []
        for one in self.told:
            if isinstance(one, Change):
                model = one.spec.gguf.stem
                state[model] = one.state
                if one.state == "ready":
                    waited |= {
                        attempt_id: True
                        for attempt_id, (asked, _) in probed.items()
                        if asked == model and attempt_id not in speaking
                    }
                continue
            assert one.attempt_id is not None
            match one:
                case Probed(model=model):
                    probed[one.attempt_id] = model, state.get(model, "cold")
                    waited[one.attempt_id] = False
                case AnswerDelta():
                    speaking.add(one.attempt_id)
                case AttemptFinished(attempt=attempt):
                    found.append((attempt, probed[one.attempt_id][1], waited[one.attempt_id]))
        return found


@asynccontextmanager
async def counting_servers() -> AsyncIterator[list[int]]:
    """Count our model servers again and again; the counts are in the list."""
    counts: list[int] = []

    async def count() -> None:
        while True:
            counts.append(len(await asyncio.to_thread(servers_of, os.getpid())))
            await asyncio.sleep(COUNT_EVERY_S)

    counting = asyncio.create_task(count())
    try:
        yield counts
    finally:
        counting.cancel()
        with suppress(asyncio.CancelledError):
            await counting


def said(result: RunResult) -> tuple[object, ...]:
    """Return what a run came to, without its ids and times."""
    attempts = [
        (one.model, one.answer, one.verdict, one.cause, one.score, one.feedback) for one in result.attempts
    ]
    return result.status, result.output, result.model, attempts


async def run_all(bench: Bench, tasks: Sequence[str], sink: Story, *, at_once: int) -> list[RunResult]:
    """Walk the tasks through the chain, so many at once; return the results in the order of the tasks."""
    turns = asyncio.Semaphore(at_once)

    async def run(task: str) -> RunResult:
        async with turns:
            return await bench.result(task, chain="strict", sink=sink)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(task)) for task in tasks]
    return [task.result() for task in running]


@pytest.mark.parametrize(
    ("max_loaded", "runs"),
    [
        (1, 12),
        *(
            pytest.param(places, 200, marks=[pytest.mark.long, pytest.mark.timeout(600)])
            for places in (1, 2, 3)
        ),
    ],
)
async def test_none_is_lost_and_the_log_is_true(max_loaded: int, runs: int, tmp_path: Path) -> None:
    prompts = [json.loads(line)["prompt"] for line in SAMPLE.read_text("utf-8").splitlines()]
    tasks = list(islice(cycle(prompts), runs))
    (tmp_path / "alone").mkdir()
    async with open_engine_bench(tmp_path / "alone", iso_date_chains_text()) as bench:
        distinct = list(dict.fromkeys(tasks))
        alone = await run_all(bench, distinct, Story(), at_once=1)
    expected = dict(zip(distinct, map(said, alone), strict=True))

    story = Story()
    chains = iso_date_chains_text(max_loaded=max_loaded)
    async with (
        open_engine_bench(tmp_path, chains, observe=story.observe) as bench,
        counting_servers() as counts,
    ):
        began = time.monotonic()
        results = await run_all(bench, tasks, story, at_once=AT_ONCE)
        took_s = time.monotonic() - began
        stored = [await bench.stored(result) for result in results]
    evictions = sum(change.reason == "evicted" and not change.leaving for change in story.changes())
    loads = sum(change.state == "ready" for change in story.changes())
    swaps = f"{loads} loads, {evictions} evictions"
    sys.stdout.write(f"{runs} runs, {AT_ONCE} at once, max_loaded {max_loaded}: {took_s:.1f} s, {swaps}\n")

    # None is lost, and none comes to something else than it does alone.
    assert len({result.run_id for result in results}) == runs
    assert {run.result.status for run in stored} <= {"accepted", "exhausted"}
    assert [run.task for run in stored] == tasks
    assert [attempt.error for run in stored for attempt in run.result.attempts if attempt.error] == []
    assert [said(run.result) for run in stored] == [said(result) for result in results]
    assert [said(result) for result in results] == [expected[task] for task in tasks]

    # The places are not exceeded.
    assert story.most_loaded() <= max_loaded
    assert max(counts) <= max_loaded
    assert {change.reason for change in story.changes()} <= {"asked", "evicted", "closed"}

    # What the log says of each attempt is what the engine did.
    in_log = {attempt.attempt_id: attempt for run in stored for attempt in run.result.attempts}
    attempts = story.attempts()
    assert len(attempts) == len(in_log)
    for finished, state, waited in attempts:
        attempt = in_log[finished.attempt_id]
        assert (attempt.warm_state, attempt.warm_start) == (state, state == "ready")
        assert (attempt.load_ms is not None) == waited
        assert attempt.retries == 0
    assert any(waited for *_, waited in attempts)
    assert max_loaded < 3 or any(state == "ready" for _, state, _ in attempts)
