"""When an attempt's own work directory is settled: once the attempt is in the log, whatever became of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from walking import Events

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.agent.source import AttemptTools
from hyperguild.agent.toolbox import no_rules
from hyperguild.bootstrap import open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy, Tier
from hyperguild.domain.events import Warned
from hyperguild.domain.records import RunResult, UnrecordedRunError
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
verifiers:
  default: {{checks: [{{kind: regex, pattern: "Line 3"}}]}}
chains:
  default: [phi4, qwen]
"""


@dataclass
class Settling:
    """A source whose attempts are settled: keeps what the log held at that moment."""

    log: Path
    seen: list[tuple[bool | None, list[str]]] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        async def settle(accepted: bool | None) -> tuple[str, ...]:
            with closing(sqlite3.connect(self.log)) as log:
                causes = log.execute("SELECT coalesce(cause, 'none') FROM attempts ORDER BY rowid")
                self.seen.append((accepted, [cause for (cause,) in causes]))
            return (f"settled {tier.model.name}",)

        yield AttemptTools((), no_rules(), settle=settle)


async def run(source: Settling, fleet: FleetProcess, folder: Path, events: Events) -> RunResult:
    configuration = load_config_text(CHAINS.format(url=fleet.url), folder / "chains.yaml", {})
    scrubber = Scrubber()
    store = await SqliteSessionStore.open(source.log, scrubber=scrubber, log=LogPolicy(), clock=SystemClock())
    try:
        async with open_guild(configuration, {}, scrubber) as guild:
            request = RunRequest("test", "Be brief.", Task("x"), configuration.chain_for("test"))
            return await replace(guild, source=source).run(request, store, events)
    finally:
        await store.aclose()


async def test_an_attempt_is_durable_before_it_is_settled(fleet: FleetProcess, tmp_path: Path) -> None:
    source, events = Settling(tmp_path / "s.db"), Events()
    result = await run(source, fleet, tmp_path, events)
    assert result.status == "accepted"
    assert source.seen == [(False, ["check_failed"]), (True, ["check_failed", "none"])]
    warned = [event.message for event in events.seen if isinstance(event, Warned)]
    assert warned == ["settled phi4", "settled qwen"]


async def test_a_cancelled_attempt_is_settled_as_interrupted(fleet: FleetProcess, tmp_path: Path) -> None:
    fleet.script({"models": {"phi4": {"answers": [{"text": "late", "delay_s": 60}]}, "qwen": {}}})
    source, events = Settling(tmp_path / "s.db"), Events()
    task = asyncio.create_task(run(source, fleet, tmp_path, events))
    async with asyncio.timeout(30):
        while not any(one["path"].endswith("/completions") for one in fleet.requests()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.seen == [(None, ["cancelled"])]
    assert [event.message for event in events.seen if isinstance(event, Warned)] == ["settled phi4"]


async def test_what_is_not_on_record_is_put_aside(fleet: FleetProcess, tmp_path: Path) -> None:
    source, events = Settling(tmp_path / "s.db"), Events()
    await run(source, fleet, tmp_path, events)
    source.seen.clear()
    with closing(sqlite3.connect(source.log)) as log:
        log.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON attempts WHEN new.verdict = 'accept'"
            " BEGIN SELECT RAISE(FAIL, 'refused'); END"
        )
    with pytest.raises(UnrecordedRunError) as failed:
        await run(source, fleet, tmp_path, events)
    assert failed.value.result.status == "accepted"
    assert [accepted for accepted, _ in source.seen] == [False, None]
