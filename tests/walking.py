"""Walks a chain in this process, over real sockets, with a real session log."""

from __future__ import annotations

from pathlib import Path

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event
from hyperguild.domain.records import RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task


class Events:
    """Keeps every event."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        self.seen.append(event)


async def walked(
    config: str, folder: Path, task: str = "the task", events: Events | None = None
) -> RunResult:
    """Run the default chain in this process, with a real log; return the result, accepted or not."""
    configuration = load_config_text(config, folder / "chains.yaml", {})
    scrubber = Scrubber()
    store = await SqliteSessionStore.open(
        folder / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
    )
    try:
        async with open_guild(configuration, {}, scrubber) as guild:
            request = RunRequest("test", "Be brief.", Task(task), configuration.chain_for("test"))
            try:
                result = await guild.run(request, store, events or Events())
            except RunError as error:
                result = error.result
        stored = await store.run(result.run_id)
        assert stored is not None
        assert stored.result.speculation == result.speculation
        assert [one.attempt_id for one in stored.result.attempts] == [
            one.attempt_id for one in result.attempts
        ]
        return result
    finally:
        await store.aclose()
