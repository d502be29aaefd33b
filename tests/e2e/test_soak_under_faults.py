"""Many runs at once over a fleet that fails at random: nothing is lost, nothing leaks, every run ends."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from figures import FIGURE

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.adapters.wire.transport import aiohttp_transport
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event, StepReset
from hyperguild.domain.records import Attempt, RunError, RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

AT_ONCE = 64
BATCH = 500
"""So many runs are compared with the fleet's journal at a time, which it keeps in memory."""

WARM_SHARE = 0.2
MEMORY_GROWTH_MAX = 0.05
CANCELLED_SHARE = 0.03
SEED = 20_261_121
LIMIT_S = 300.0
"""Only against hangs."""

FINE_SHARE = 0.5
"""Of the models' answers; each of the others meets a fate."""

RESET_EVERY_S = 0.02
"""So often somebody closes all breakers. Else they are open nearly always, and hardly a request is made."""

MODELS = ("weak", "strong", "cloud")
FAULTS = (
    *("reset", "crash_before", "crash_during", "no_finish", "no_done", "truncated_json", "invalid_utf8"),
    *("wrong_content_type", "html", "empty_200", "empty_502"),
)
STALLS = ("hang", "stall_before_first", "stall_after_first", "slow_headers")
STALL_SHARE = 0.01
"""Of the runs of a long soak: each of them takes many times the others' time."""

STATUSES = (400, 401, 404, 408, 413, 429, 500, 503, 529)
FATES = (*FAULTS, *map(str, STATUSES), "empty", "refused", "short")
STATES = {"accepted", "exhausted", "best_effort", "budget_exceeded"}
ATTEMPTS_MAX = 2
COST_MAX_USD = 0.002
LIMITS = "timeout_s: 60, first_token_timeout_s: 5, silence_timeout_s: 5, load_timeout_s: 30"
"""Long enough for a request to go out, however busy the machine is: the fleet can count no other."""

CONFIG = f"""\
version: 1
endpoints:
  swap: {{{{kind: llama-swap, base_url: "{{url}}", max_concurrency: 100, probe_timeout_ms: 5000}}}}
  gpt: {{{{kind: openai, base_url: "{{url}}/openai/v1", max_concurrency: 100}}}}
  claude: {{{{kind: anthropic, base_url: "{{url}}/anthropic", max_concurrency: 100}}}}
models:
  weak: {{{{endpoint: swap}}}}
  judge: {{{{endpoint: swap}}}}
  strong: {{{{endpoint: gpt, tier: local, price: {{{{input: 3, output: 15}}}}, max_output_tokens: 50}}}}
  cloud: {{{{endpoint: claude, price: {{{{input: 3, output: 15}}}}, max_output_tokens: 50}}}}
verifiers:
  default: {{{{checks: [{{{{kind: complete}}}}], judge: {{{{model: judge, {LIMITS}}}}}}}}}
chains:
  plain: &plain
    tiers:
      - {{{{model: weak, retries: 1, attempts: 2, {LIMITS}}}}}
      - {{{{model: strong, retries: 1, {LIMITS}}}}}
      - {{{{model: cloud, {LIMITS}}}}}
  few: {{{{<<: *plain, budget: {{{{attempts: {ATTEMPTS_MAX}}}}}}}}}
  cheap:
    budget: {{{{cost_usd: {COST_MAX_USD}}}}}
    on_exhausted: best
    tiers: [weak, {{{{model: strong, retries: 2, {LIMITS}}}}}, {{{{model: cloud, retries: 2, {LIMITS}}}}}]
"""


def rules(model: str) -> dict[str, Any]:
    """Return the script of a model: what its task names for it happens, else it answers."""

    def when(fate: str, **said: Any) -> dict[str, Any]:
        return {"when": {"contains": f"{model} meets {fate}."}, **said}

    answers = [when(fault, text="some words of an answer", fault=fault) for fault in FAULTS + STALLS]
    answers += [when(str(status), error={"status": status}) for status in STATUSES]
    answers += [when("empty", text=""), when("short", text="half an ans", finish_reason="length")]
    answers.append({"text": f"the answer of {model}"})
    return {"answers": answers}


JUDGE: dict[str, Any] = rules("judge")
JUDGE["answers"][-1:] = [
    {
        "when": {"contains": "judge meets refused."},
        "judge": {"accept": False, "score": 0.2, "feedback": "no"},
    },
    {"judge": {"accept": True, "score": 0.9, "feedback": ""}},
]
SCRIPT: dict[str, Any] = {
    "groups": {"all": {"swap": False, "members": ["weak", "judge"]}},
    "models": {
        name: {**said, "concurrency_limit": 200} for name, said in (("weak", rules("weak")), ("judge", JUDGE))
    },
    "openai": {"models": {"strong": rules("strong")}},
    "anthropic": {"models": {"cloud": rules("cloud")}},
}
LIBC = ctypes.CDLL(None)
RUN_MARK = re.compile(r"run-\d{6}")


class HastyClock(SystemClock):
    """Waits a twentieth of what it is told to, so that backoffs take little time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


class Breaks:
    """Counts the tries of a run whose connection broke before an answer began, but for an attempt's last one.

    One that a server had closed for being idle takes the request with it: the server never sees that.
    """

    def __init__(self) -> None:
        self.count = 0

    def emit(self, event: Event) -> None:
        self.count += isinstance(event, StepReset) and "broke before an answer" in event.reason


@dataclass(frozen=True)
class Ended:
    """A run that came to its end, and how many of its requests may not have arrived."""

    result: RunResult
    broken: int


@dataclass
class Soak:
    """What the runs have come to so far."""

    statuses: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    refused: int = 0
    requests: int = 0
    unseen: int = 0
    began: float = field(default_factory=time.monotonic)
    resident_warm: int = 0
    resident_end: int = 0

    @property
    def growth(self) -> float:
        return self.resident_end / self.resident_warm - 1

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"soak: {self.statuses.total()} runs, {AT_ONCE} at once, in {seconds:.0f} s ({ended}); "
            f"{self.attempts} attempts, {self.refused} tiers skipped for a breaker, "
            f"{self.requests} requests of workers, "
            f"{self.unseen} lost with an idle connection; memory "
            f"{self.resident_warm >> 20} MiB after warming, {self.growth:+.1%} at the end"
        )


@pytest.fixture
def failing() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


def resident_bytes() -> int:
    """Return what this process holds in memory, less what its allocator keeps for later."""
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path would not be faster to read


class Crowd:
    """Runs batches of requests over one guild and one log."""

    def __init__(
        self, guild: OpenGuild, store: SqliteSessionStore, configuration: Configuration, stall_share: float
    ) -> None:
        self._guild = guild
        self._store = store
        self._configuration = configuration
        self._stall_share = stall_share
        self._drawn = random.Random(SEED)  # noqa: S311 - not a secret
        self._next = 0

    async def batch(self, size: int) -> dict[str, Ended]:
        """Make so many runs; return the results of those not cancelled, by the mark of their tasks."""
        ended: dict[str, Ended] = {}
        waiting = iter([self._request() for _ in range(size)])

        async def work() -> None:
            for mark, request, leaves_after_s in waiting:
                breaks = Breaks()
                result = await self._run(request, breaks, leaves_after_s)
                if result is not None:
                    last = sum(
                        one.error is not None and one.error.kind == "connect" for one in result.attempts
                    )
                    ended[mark] = Ended(result, breaks.count + last)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
        return ended

    async def _run(
        self, request: RunRequest, breaks: Breaks, leaves_after_s: float | None
    ) -> RunResult | None:
        """Run to the end, or until its caller leaves; None then."""
        try:
            async with asyncio.timeout(LIMIT_S if leaves_after_s is None else leaves_after_s):
                return await self._guild.run(request, self._store, breaks)
        except RunError as failed:
            return failed.result
        except TimeoutError:
            assert leaves_after_s is not None, f"{request.task.text} hangs"
            return None

    def _request(self) -> tuple[str, RunRequest, float | None]:
        self._next += 1
        mark, drawn = f"run-{self._next:06}", self._drawn
        fates = [
            f"{model} meets {drawn.choice(FATES)}."
            for model in (*MODELS, "judge")
            if drawn.random() >= FINE_SHARE
        ]
        if drawn.random() < self._stall_share:
            fates = [f"{drawn.choice(MODELS)} meets {drawn.choice(STALLS)}."]
        chain = self._configuration.chains[drawn.choice(("plain", "few", "cheap"))]
        leaves = drawn.random() * 0.3 if drawn.random() < CANCELLED_SHARE else None
        return mark, RunRequest("soak", "Be brief.", Task(" ".join((mark, *fates))), chain), leaves


def seen_by(fleet: FleetProcess) -> Counter[tuple[str, str]]:
    """Return how often the fleet was asked, by task and model, once it has nothing under way."""
    give_up_at = time.monotonic() + LIMIT_S
    while fleet.state()["open"]:
        assert time.monotonic() < give_up_at, "requests are still open"
        time.sleep(0.05)
    found: Counter[tuple[str, str]] = Counter()
    for record in fleet.requests():
        if record["model"] in MODELS:
            mark = RUN_MARK.search(json.dumps(record["body"]))
            assert mark is not None
            found[mark[0], record["model"]] += 1
    return found


def requests_of(stored: StoredRun, attempts: Sequence[Attempt]) -> int:
    """Return how many requests these attempts made, as the log has them: one a step, and one a retry.

    A step that a breaker refused, opened by others since the attempt began, made none.
    """
    steps = Counter(step.attempt_id for step in stored.steps)
    refused = sum(one.error is not None and one.error.kind == "breaker_open" for one in attempts)
    return sum(max(steps[one.attempt_id], 1) + one.retries for one in attempts) - refused


async def check_batch(
    ended: dict[str, Ended], seen: Counter[tuple[str, str]], store: SqliteSessionStore, soak: Soak
) -> None:
    """Compare results, log and journal."""
    for mark, run in ended.items():
        result, may_be_lost = run.result, run.broken
        stored = await store.run(result.run_id)
        assert stored is not None
        assert stored.result.attempts == result.attempts, mark
        assert (stored.result.status, result.status in STATES) == (result.status, True), mark
        tried = [one for one in result.attempts if one.verdict != "skip"]
        for model in MODELS:
            made = requests_of(stored, [one for one in tried if one.model == model])
            lost = made - seen[mark, model]
            assert 0 <= lost <= may_be_lost, (mark, model, stored.task)
            may_be_lost -= lost
            soak.unseen += lost
        if result.chain == "few":
            assert len(tried) <= ATTEMPTS_MAX, mark
        if result.chain == "cheap":
            assert (result.cost_usd or 0.0) <= COST_MAX_USD, mark
        soak.statuses[result.status] += 1
        soak.attempts += len(tried)
        soak.refused += sum(one.cause == "breaker_open" for one in result.attempts)


async def reset_breakers(store: SqliteSessionStore) -> None:
    """Close all breakers again and again, as `models reset` in another process does."""
    while True:
        await asyncio.sleep(RESET_EVERY_S)
        await store.keep_breakers([], gone=[record.key for record in await store.breakers()])


async def soaked(fleet: FleetProcess, folder: Path, runs: int, stall_share: float) -> Soak:
    """Make the runs and check them; return the figures. The guild is closed by then."""
    soak = Soak()
    configuration = load_config_text(CONFIG.format(url=fleet.url), folder / "chains.yaml", {})
    scrubber, clock = Scrubber(), HastyClock()
    async with AsyncExitStack() as stack:
        store = await SqliteSessionStore.open(
            folder / "s.db", scrubber=scrubber, log=LogPolicy(), clock=clock
        )
        stack.push_async_callback(store.aclose)
        guild = await stack.enter_async_context(
            open_guild(configuration, {}, scrubber, clock=clock, transport=aiohttp_transport)
        )
        crowd = Crowd(guild, store, configuration, stall_share)
        made = 0
        while made < runs:
            size = min(BATCH, runs - made)
            resetting = asyncio.create_task(reset_breakers(store))
            ended = await crowd.batch(size)
            resetting.cancel()
            await asyncio.wait({resetting})
            made += size
            seen = seen_by(fleet)  # not in a thread, whose memory would be counted, too; nothing else goes on
            await check_batch(ended, seen, store, soak)
            soak.statuses["cancelled"] += size - len(ended)
            soak.requests += seen.total()
            await asyncio.to_thread(fleet.reset)
            del ended, seen
            soak.resident_end = resident_bytes()
            if not soak.resident_warm or made <= runs * WARM_SHARE:
                soak.resident_warm = soak.resident_end
        assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks are left"
    return soak


async def soak_and_check(
    fleet: FleetProcess,
    folder: Path,
    runs: int,
    record: Callable[[str, object], None],
    *,
    stall_share: float = 0.0,
) -> Soak:
    await asyncio.to_thread(fleet.state)  # opens what the first call opens: threads, their pipes
    files_before = open_files()
    soak = await soaked(fleet, folder, runs, stall_share)
    record(FIGURE, str(soak))
    assert soak.unseen <= soak.requests // 200
    assert open_files() <= files_before
    with sqlite3.connect(folder / "s.db") as log:
        statuses = dict(log.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
    log.close()
    assert set(statuses) <= STATES | {"cancelled"}
    assert sum(statuses.values()) <= runs
    return soak


async def test_runs_over_a_failing_fleet_all_end_and_leave_nothing(
    failing: FleetProcess, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    soak = await soak_and_check(failing, tmp_path, 120, record_property)
    assert soak.statuses["accepted"] > 0
    assert soak.statuses["exhausted"] > 0


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
async def test_thousands_of_runs_over_a_failing_fleet_leak_nothing(
    failing: FleetProcess, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    runs = int(os.environ.get("HYPERGUILD_SOAK_RUNS", "20000"))
    soak = await soak_and_check(failing, tmp_path, runs, record_property, stall_share=STALL_SHARE)
    assert soak.growth < MEMORY_GROWTH_MAX
