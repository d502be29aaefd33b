"""Wherever a run is killed or interrupted, and however often: it goes on, and comes to the same end."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from agent.looping import allow, tool, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.agent.source import AttemptTools
from hyperguild.agent.toolbox import CallRules
from hyperguild.bootstrap import open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.continuing import Means, Terms, going_on, unfinished
from hyperguild.domain.chain import LogPolicy, Tier
from hyperguild.domain.events import Event
from hyperguild.domain.records import RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.domain.usage import Usage
from hyperguild.orchestration.resume import Continuation
from hyperguild.requests import ChainOptions, recorded
from hyperguild.simulation.process import FleetProcess
from hyperguild.skills.manifest import Skill, read_skill

CHAINS = """\
version: 1
endpoints:
  one: {{kind: openai, base_url: "{url}/openai/v1"}}
models:
  weak: {{endpoint: one, price: {{input: 1.0, output: 2.0}}}}
  strong: {{endpoint: one, price: {{input: 3.0, output: 4.0}}}}
  judge: {{endpoint: one}}
verifiers:
  default: {{judge: judge}}
chains:
  default: [weak, strong]
"""


def does(*numbers: int, after: str = "") -> dict[str, Any]:
    """A rule that depends on nothing but what the model is told: after that it calls the tool."""
    calls = [{"name": "did", "arguments": {"path": str(number)}} for number in numbers]
    return {"when": {"anywhere_contains": [after] if after else []}, "tool_calls": calls}


SCRIPT: dict[str, Any] = {
    "openai": {
        "models": {
            "weak": {
                "answers": [
                    {"when": {"anywhere_contains": ["did 3"]}, "text": "the first answer"},
                    does(2, 3, after="did 1"),
                    does(1),
                ]
            },
            "strong": {
                "answers": [
                    {"when": {"anywhere_contains": ["did 4"]}, "text": "the second answer"},
                    does(4),
                ]
            },
            "judge": {
                "answers": [
                    {
                        "when": {"regex": "(?s)<answer .*the second"},
                        "judge": {"accept": True, "score": 0.9, "feedback": "good"},
                    },
                    {"judge": {"accept": False, "score": 0.2, "feedback": "bad"}},
                ]
            },
        }
    }
}
STEPS = 5
"""Of a run that nobody stops: three of the weak model, two of the strong one."""


class OneTool:
    """The `ToolSource` of these tests."""

    @asynccontextmanager
    async def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        del request, tier, session_id

        async def did(path: str = "") -> str:
            await asyncio.sleep(0.01)
            return f"did {path}"

        yield AttemptTools((tool(did),), CallRules(allow, whole, timeout_s=10))


class Stopper:
    """Cancels the run at its n-th event; without an n it copies the log at every event."""

    def __init__(self, at: int | None, log: Path | None = None) -> None:
        self.seen = 0
        self.snapshots: list[Path] = []
        self._at = at
        self._log = log
        self._task = asyncio.current_task()

    def emit(self, event: Event) -> None:
        del event
        if self.seen == self._at and self._task is not None:
            self._task.cancel()
        self.seen += 1
        if self._log is not None:
            copy = self._log.with_name(f"{self.seen}.db")
            with closing(sqlite3.connect(self._log)) as log, closing(sqlite3.connect(copy)) as made:
                log.backup(made)
            self.snapshots.append(copy)


@dataclasses.dataclass
class Place:
    """A folder with a configuration, a skill and a log, and the fleet that answers."""

    folder: Path
    fleet: FleetProcess
    configuration: Configuration
    skill: Skill

    @classmethod
    def of(cls, folder: Path, fleet: FleetProcess) -> Place:
        fleet.script(SCRIPT)
        fleet.reset()
        (folder / "test").mkdir()
        text = "---\nname: test\ndescription: Tests.\n---\nUse the tool.\n"
        (folder / "test/SKILL.md").write_text(text, encoding="utf-8")
        configuration = load_config_text(CHAINS.format(url=fleet.url), folder / "chains.yaml", {})
        return cls(folder, fleet, configuration, read_skill(folder / "test", folder))

    async def run(self, log: Path, stopper: Stopper) -> RunResult:
        """Begin the run."""
        options = ChainOptions()
        request = RunRequest(
            "test",
            self.skill.system_prompt("the task"),
            Task("the task"),
            self.configuration.chain_for("test"),
            options=recorded(options, None),
        )
        return await self._walk(log, stopper, request, None)

    async def go_on(self, log: Path, stopper: Stopper) -> RunResult:
        """Continue the unfinished run."""
        stored = await self.stored(log)
        means = Means(self.configuration, lambda _: self.skill, Scrubber(), system_ids(SystemClock()).new_id)
        going = going_on(unfinished([stored]), means, Terms())
        return await self._walk(log, stopper, going.request, going.continuation)

    async def stored(self, log: Path) -> StoredRun:
        store = await SqliteSessionStore.open(
            log, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock(), read_only=True
        )
        try:
            [stored] = await store.session_runs(await store.resolve_session("last"))
            return stored
        finally:
            await store.aclose()

    async def _walk(
        self, log: Path, stopper: Stopper, request: RunRequest, continuation: Continuation | None
    ) -> RunResult:
        scrubber = Scrubber()
        store = await SqliteSessionStore.open(log, scrubber=scrubber, log=LogPolicy(), clock=SystemClock())
        try:
            async with open_guild(self.configuration, {}, scrubber) as opened:
                guild = dataclasses.replace(opened, source=OneTool())
                return await guild.run(request, store, stopper, continuation)
        finally:
            await store.aclose()

    def asked(self) -> list[list[dict[str, Any]]]:
        """What weak and strong were sent."""
        return [
            one["body"]["messages"] for one in self.fleet.requests() if one["model"] in {"weak", "strong"}
        ]

    async def check(self, log: Path, result: RunResult) -> StoredRun:
        """What holds of every run that has come to its end."""
        assert (result.status, result.output) == ("accepted", "the second answer")
        counted = [one for one in result.attempts if one.cause != "cancelled"]
        assert [(one.model, one.verdict) for one in counted] == [("weak", "escalate"), ("strong", "accept")]
        stored = await self.stored(log)
        assert stored.result.attempts == result.attempts
        assert stored.result.cost_usd == pytest.approx(result.cost_usd)
        for attempt in result.attempts:
            steps = [step for step in stored.steps if step.attempt_id == attempt.attempt_id]
            assert attempt.usage == sum((step.usage for step in steps), Usage())
        for messages in self.asked():
            assert_whole(messages)
        return stored


def assert_whole(messages: Sequence[dict[str, Any]]) -> None:
    """A1: each call has its one result, in call order; and nobody speaks twice in a row but tools."""
    waiting: list[str] = []
    roles = [message["role"] for message in messages]
    assert all(one != other or one == "tool" for one, other in itertools.pairwise(roles))
    for message in messages:
        if message["role"] == "tool":
            assert waiting.pop(0) == message["tool_call_id"]
        else:
            assert waiting == []
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
    assert waiting == []


def leave(log: Path) -> bool:
    """Make the copy of a log that of a process that was killed; return whether there is a run to go on."""
    with closing(sqlite3.connect(log)) as connection:
        changed = connection.execute(
            "UPDATE runs SET pid = NULL, lease_expires_at = '2026-01-01T00:00:00.000Z'"
            " WHERE status = 'running'"
        ).rowcount
        connection.commit()
    return changed > 0


async def test_h2_wherever_it_is_killed_no_step_that_was_persisted_is_made_again(
    tmp_path: Path, shared_fleet: FleetProcess
) -> None:
    place = Place.of(tmp_path, shared_fleet)
    log = tmp_path / "whole.db"
    copier = Stopper(None, log)
    unbroken = await place.check(log, await place.run(log, copier))
    assert len(place.asked()) == STEPS
    told: set[tuple[int, int]] = set()
    for copy in copier.snapshots:
        if not leave(copy):
            continue
        before = await place.stored(copy)
        state = (len(before.steps), len(before.result.attempts))
        if state in told:
            continue
        told.add(state)
        place.fleet.reset()
        result = await place.go_on(copy, Stopper(None))
        after = await place.check(copy, result)
        assert len(place.asked()) == STEPS - len(before.steps)
        assert len(after.steps) == STEPS
        assert result.usage.output_tokens == unbroken.result.usage.output_tokens
    assert len(told) == 1 + STEPS + 2, "a state of the log was never seen: none, each step, each attempt"


async def stopped_at(folder: Path, fleet: FleetProcess, moments: Sequence[int]) -> None:
    """Run, interrupt at those events, one in each process, and go on until the end."""
    place = Place.of(folder, fleet)
    log = folder / "log.db"
    walk = place.run
    for moment in [*moments, None]:
        try:
            result = await asyncio.create_task(stopping(walk, log, moment))
        except asyncio.CancelledError:
            walk = place.go_on
            stored = await place.stored(log)
            assert stored.result.status in {"cancelled", "accepted"}
            if stored.result.status == "accepted":
                return  # it was stopped as it ended
        else:
            await place.check(log, result)
            return


async def stopping(
    walk: Callable[[Path, Stopper], Awaitable[RunResult]], log: Path, moment: int | None
) -> RunResult:
    """Walk in a task of its own, which the stopper cancels."""
    return await walk(log, Stopper(moment))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=3))
@settings(max_examples=12)
def test_h1_wherever_and_however_often_it_is_interrupted_it_comes_to_its_end(
    shared_fleet: FleetProcess, moments: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(stopped_at(Path(folder), shared_fleet, moments))


@pytest.mark.long
@pytest.mark.parametrize("moment", range(60))
def test_h1_wherever_it_is_interrupted_it_comes_to_its_end(
    shared_fleet: FleetProcess, tmp_path: Path, moment: int
) -> None:
    asyncio.run(stopped_at(tmp_path, shared_fleet, [moment]))
