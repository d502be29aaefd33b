"""Every fault of a server, in every place of a chain: the right verdict, the right next step, and in time.

The table of all cases stands below the results of the tests.
"""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from figures import ROW
from walking import Events

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import Attempt, RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

ANSWER = "a long enough answer for a stream of several pieces"
LIMIT_S = 30.0
"""Only against hangs: the limits of the chains are far below."""

MEMORY_MAX_BYTES = 64 * 2**20
"""What any flood may take for a moment: eight times the longest line, parsed and copied."""

SENT_MAX_BYTES = 40_000_000
"""More of a flood is not taken, what stands in the buffers of sockets included."""

Place = Literal["first tier", "judge", "last tier"]
PLACES: tuple[Place, ...] = ("first tier", "judge", "last tier")
AMPLE = "timeout_s: 20, load_timeout_s: 10, first_token_timeout_s: 10, silence_timeout_s: 10"
NO_WAIT = "timeout_s: 20, load_timeout_s: 10, first_token_timeout_s: 0.25, silence_timeout_s: 10"
NO_SILENCE = "timeout_s: 20, load_timeout_s: 10, first_token_timeout_s: 10, silence_timeout_s: 0.25"


@dataclass(frozen=True)
class Fault:
    """A fault, the model of the fleet that has it, and what is to become of it.

    `escalates` is the cause where a tier's answer is refused, and not the tier's fault; `flood` says that
    more is sent than anybody may take.
    """

    name: str
    kind: str
    says: str
    status: int | None = None
    model: dict[str, Any] | None = None
    base_url: str = "{url}"
    limits: str = AMPLE
    escalates: str | None = None
    flood: bool = False

    @property
    def upstream(self) -> str:
        return self.name.replace(" ", "-").replace("[", "").replace("]", "")


def fault(name: str, kind: str, says: str, fault_name: str, **more: Any) -> Fault:
    return Fault(name, kind, says, model={"answers": [{"text": ANSWER, "fault": fault_name}]}, **more)


def error(name: str, kind: str, status: int, **reply: Any) -> Fault:
    said = {"status": status, "message": "said by the server", **reply}
    return Fault(name, kind, "said by the server", status, {"answers": [{"error": said}]})


FAULTS = (
    Fault("refused", "connect", "nothing listens", base_url="http://127.0.0.1:{closed}"),
    fault("reset", "connect", "broke", "reset"),
    Fault("DNS failure", "connect", "no address", base_url="http://nowhere.invalid:8080"),
    Fault("TLS failure", "connect", "no TLS", base_url="https://{host}"),
    fault("slow headers", "timeout", "first token", "slow_headers", limits=NO_WAIT),
    fault("no headers", "timeout", "first token", "hang", limits=NO_WAIT),
    fault("stall before the first token", "timeout", "first token", "stall_before_first", limits=NO_WAIT),
    fault("stall after the first token", "timeout", "silent", "stall_after_first", limits=NO_SILENCE),
    fault("clean end without [DONE]", "protocol", "before its last event", "no_done"),
    fault("no finish reason", "protocol", "finish reason", "no_finish"),
    fault("crash in mid-answer", "protocol", "ended", "crash_during"),
    fault("truncated JSON", "protocol", "broken JSON", "truncated_json"),
    fault("invalid UTF-8", "protocol", "not UTF-8", "invalid_utf8"),
    fault("wrong content type", "protocol", "text/plain", "wrong_content_type"),
    fault("HTML error page", "protocol", "text/html", "html"),
    fault("empty 200", "protocol", "no content type", "empty_200"),
    fault("empty 502", "server", "crashed", "empty_502", status=502),
    Fault("400 overflow", "context_overflow", "too long", 400, {"context": 2, "answers": [{"text": ANSWER}]}),
    error("401", "auth", 401),
    Fault("404", "not_found", "knows no model", 404),
    error("408", "timeout", 408),
    error("413", "context_overflow", 413),
    error("429 with Retry-After", "rate_limit", 429, headers={"retry-after": "60"}),
    error("429 without Retry-After", "rate_limit", 429, headers={"retry-after": None}),
    error("500", "server", 500),
    error("529", "overloaded", 529),
    fault("1 GB answer", "protocol", "more than", "huge_answer", flood=True),
    fault(
        "endless stream",
        "timeout",
        "not finished",
        "endless",
        limits="timeout_s: 3",
        escalates="repetition",
        flood=True,
    ),
    fault("100 MB line", "protocol", "longer than", "long_line", flood=True),
    Fault("crash while loading", "server", "could not start", 500, {"start": "fail", "load_s": 0.05}),
)
SCRIPTED = {one.upstream: one.model for one in FAULTS if one.model is not None}
SCRIPT: dict[str, Any] = {
    "groups": {"all": {"swap": False, "exclusive": False, "members": list(SCRIPTED)}},
    "models": SCRIPTED,
    "openai": {
        "models": {"worker": {"answers": [{"text": "refused"}]}, "good": {"answers": [{"text": "saved"}]}}
    },
}
CONFIG = """\
version: 1
endpoints:
  bad: {{kind: llama-swap, base_url: "{base_url}", probe_timeout_ms: 5000}}
  fine: {{kind: openai, base_url: "{url}/openai/v1"}}
models:
  bad: {{endpoint: bad, upstream: "{upstream}"}}
  worker: {{endpoint: fine}}
  good: {{endpoint: fine}}
verifiers:
  judged: {{judge: {{model: bad, {limits}}}}}
  checked: {{checks: [{{kind: regex, pattern: "^saved"}}]}}
chains:
  first tier: {{verifier: checked, tiers: [{{model: bad, retries: 0, {limits}}}, good]}}
  judge: {{verifier: judged, tiers: [worker, {{model: good, verify: false}}]}}
  last tier: {{verifier: checked, tiers: [worker, {{model: bad, retries: 0, {limits}}}]}}
"""


class HastyClock(SystemClock):
    """Waits a twentieth of what it is told to, so that backoffs of judges take no time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


@dataclass
class Seen:
    """What became of a run, and what the log has of it."""

    result: RunResult
    stored: RunResult
    took_s: float
    memory_bytes: int = 0
    events: Events = field(default_factory=Events)


@pytest.fixture(scope="module")
def faulty() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer for the name server: no question leaves this machine."""
    real: Callable[..., Any] = socket.getaddrinfo

    def looked_up(host: Any, *more: Any, **named: Any) -> Any:
        if host in {"nowhere.invalid", b"nowhere.invalid"}:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


async def run_once(config: str, chain: str, folder: Path, *, measured: bool) -> Seen:
    """Walk one chain in a guild and a log of its own."""
    configuration = load_config_text(config, folder / "chains.yaml", {})
    scrubber, clock, events = Scrubber(), HastyClock(), Events()
    async with AsyncExitStack() as stack:
        store = await SqliteSessionStore.open(
            folder / "s.db", scrubber=scrubber, log=LogPolicy(), clock=clock
        )
        stack.push_async_callback(store.aclose)
        guild = await stack.enter_async_context(open_guild(configuration, {}, scrubber, clock=clock))
        request = RunRequest("test", "Be brief.", Task("the task"), configuration.chains[chain])
        began = time.monotonic()
        if measured:
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
        try:
            async with asyncio.timeout(LIMIT_S):
                result = await guild.run(request, store, events)
        except RunError as failed:
            result = failed.result
        took_s = time.monotonic() - began
        memory_bytes = tracemalloc.get_traced_memory()[1] if measured else 0
        stored = await store.run(result.run_id)
        assert stored is not None
        return Seen(result, stored.result, took_s, memory_bytes, events)


def check_tier(case: Fault, attempt: Attempt) -> str:
    """Check the attempt of a tier that has the fault; return the error's kind, or the cause."""
    if case.escalates is not None:
        assert (attempt.verdict, attempt.cause) == ("escalate", case.escalates)
        return case.escalates
    assert attempt.error is not None
    assert (attempt.verdict, attempt.cause) == ("error", case.kind), attempt.error
    assert (attempt.error.kind, attempt.error.status) == (case.kind, case.status), attempt.error.message
    assert case.says in attempt.error.message
    assert attempt.error.message.isprintable()
    return case.kind


def check(case: Fault, place: Place, seen: Seen) -> tuple[Attempt, str, str]:
    """Check what became of the run; return the attempt with the fault, its kind and what came next."""
    result = seen.result
    if place == "judge":
        judged = result.attempts[0]
        assert (judged.verdict, judged.cause) == ("escalate", "verifier_error"), judged
        assert judged.feedback.startswith("verifier error: ")
        assert f"bad: {case.kind}: " in judged.feedback
        assert case.says in judged.feedback
        assert judged.verifier is not None
        assert judged.verifier.model == "bad"
        assert (result.status, result.output) == ("accepted", "saved")
        return judged, case.kind, "the next tier answers"
    if place == "first tier":
        kind = check_tier(case, result.attempts[0])
        assert (result.status, result.output, result.model) == ("accepted", "saved", "good")
        return result.attempts[0], kind, "the next tier answers"
    kind = check_tier(case, result.attempts[1])
    assert (result.status, len(result.attempts)) == ("exhausted", 2)
    assert result.best_attempt_id == result.attempts[0].attempt_id, "what was stopped is no answer"
    return result.attempts[1], kind, "exhausted, the best is kept"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
async def test_a_fault_has_its_verdict_and_its_next_step_in_time(
    faulty: FleetProcess,
    closed_port: int,
    no_names: None,
    tmp_path: Path,
    case: Fault,
    place: Place,
    record_property: Callable[[str, object], None],
) -> None:
    host = faulty.url.removeprefix("http://")
    base_url = case.base_url.format(url=faulty.url, host=host, closed=closed_port)
    config = CONFIG.format(base_url=base_url, url=faulty.url, upstream=case.upstream, limits=case.limits)

    seen = await run_once(config, place, tmp_path, measured=case.flood)

    attempt, kind, next_step = check(case, place, seen)
    assert seen.stored.attempts == seen.result.attempts
    assert seen.stored.status == seen.result.status
    assert seen.took_s < LIMIT_S
    if case.flood:
        assert seen.memory_bytes < MEMORY_MAX_BYTES
        assert await asyncio.to_thread(sent_bytes, faulty, case.upstream) < SENT_MAX_BYTES
    took_ms = attempt.verify_ms if place == "judge" else attempt.duration_ms
    order = f"{FAULTS.index(case) + 1:2}{'abc'[PLACES.index(place)]}"
    verdict = f"{attempt.verdict} ({kind})"
    record_property(
        f"{ROW}fault matrix", [order, case.name, place, verdict, next_step, f"{took_ms} ms", "in the log"]
    )


def sent_bytes(fleet: FleetProcess, model: str) -> int:
    """Return the most that was sent of one answer of the model, once the fleet has seen its client leave."""
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        asked = [one for one in fleet.requests() if one["model"] == model]
        if asked and all(one["outcome"] is not None for one in asked):
            return max(int(one["bytes_sent"]) for one in asked)
        time.sleep(0.02)
    raise AssertionError("an answer still goes on")
