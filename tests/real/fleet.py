"""Real models for tests, bare servers of them, and a bench that walks chains over them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.embedded.client import EmbeddedClient
from hyperguild.adapters.embedded.engine import Change, Engine, ignore_change
from hyperguild.adapters.embedded.host import Served
from hyperguild.adapters.embedded.probe import EmbeddedProbe
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import EngineSettings
from hyperguild.domain.events import AnswerDelta, Event
from hyperguild.domain.records import RunError, RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.inference.call import ModelCaller
from hyperguild.ports import EventSink
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.tiny_fleet import tiny_fleet_dir

MODELS = tiny_fleet_dir()
SKILLS = MODELS / "skills"


def iso_date_chains_text(*, max_loaded: int = 3, slots: int = 2) -> str:
    """Return a chains.yaml over the package's models, on one embedded endpoint `here`."""
    return f"""\
version: 1
endpoints:
  here: {{kind: embedded, max_loaded: {max_loaded}, slots: {slots}, threads: 1}}
models:
  apprentice: {{endpoint: here, gguf: "{MODELS}/apprentice.gguf", max_output_tokens: 24}}
  journeyman: {{endpoint: here, gguf: "{MODELS}/journeyman.gguf", max_output_tokens: 24}}
  judge:      {{endpoint: here, gguf: "{MODELS}/judge.gguf"}}
verifiers:
  default:
    checks:
      - {{kind: regex, pattern: "^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|invalid)$"}}
    judge: judge
chains:
  default: {{tiers: [apprentice, journeyman], on_exhausted: best}}
  strict: [apprentice, journeyman]
"""


@asynccontextmanager
async def serving(gguf: Path, *, context_tokens: int = 512, slots: int = 2) -> AsyncIterator[Served]:
    """Serve the model over HTTP while the block lasts: what an endpoint of kind `openai` is pointed at.

    `context_tokens` is the window of each slot. Raises `ModelError` where the server does not come up.
    """
    engine = Engine(EngineSettings(slots=slots))
    try:
        async with engine.lease(ServerSpec(gguf, context_tokens, slots)) as lease:
            yield lease.served
    finally:
        await engine.aclose()


def busy_slots(served: Served) -> int:
    """Return how many generations the server is at."""
    headers = {"Authorization": f"Bearer {served.key}"}
    slots = httpx.get(f"{served.url}/slots", headers=headers, trust_env=False).raise_for_status().json()
    return sum(1 for slot in slots if slot["is_processing"])


@dataclass(slots=True)
class Seen:
    """An event sink that keeps everything, and says when the first piece of an answer has come."""

    events: list[Event] = field(default_factory=list)
    speaking: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)
        if isinstance(event, AnswerDelta):
            self.speaking.set()

    def texts(self) -> list[str]:
        """Return the pieces of answers."""
        return [event.text for event in self.events if isinstance(event, AnswerDelta)]


@dataclass(frozen=True, slots=True)
class Bench:
    """A guild over a configuration, a session log in a file, and the skill `iso-date`."""

    configuration: Configuration
    guild: OpenGuild
    store: SqliteSessionStore
    db: Path

    async def run(self, task: str, *, chain: str | None = None, sink: EventSink | None = None) -> RunResult:
        """Walk a task through the chain, as `hyperguild run iso-date TASK` does; see `OpenGuild.run`."""
        skill = SkillCatalog((SKILLS,)).get("iso-date")
        request = RunRequest(
            skill=skill.name,
            system_prompt=skill.system_prompt(task),
            task=Task(task),
            chain=self.configuration.chain_for(skill.name, chain),
        )
        return await self.guild.run(request, self.store, sink or Seen())

    async def result(
        self, task: str, *, chain: str | None = None, sink: EventSink | None = None
    ) -> RunResult:
        """Walk a task through the chain; return the result, accepted or not."""
        try:
            return await self.run(task, chain=chain, sink=sink)
        except RunError as error:
            return error.result

    async def stored(self, result: RunResult) -> StoredRun:
        """Return what the session log holds of the run."""
        return await self._stored(result.run_id)

    async def last(self) -> StoredRun:
        """Return the newest run of the session log."""
        return await self._stored(await self.store.resolve_run("last"))

    async def _stored(self, run_id: str) -> StoredRun:
        run = await self.store.run(run_id)
        assert run is not None
        return run


@asynccontextmanager
async def open_bench(folder: Path, chains: str, **env: str) -> AsyncIterator[Bench]:
    """Open a bench for the text of a chains.yaml; its files are made in `folder`."""
    scrubber = Scrubber()
    configuration = load_config_text(chains, folder / "chains.yaml", env)
    async with (
        open_guild(configuration, env, scrubber) as guild,
        _open_store(folder, configuration, scrubber, guild) as store,
    ):
        yield Bench(configuration, guild, store, store_path(folder))


@asynccontextmanager
async def open_engine_bench(
    folder: Path,
    chains: str,
    *,
    observe: Callable[[Change], None] = ignore_change,
    ports: Mapping[str, int] | None = None,
) -> AsyncIterator[Bench]:
    """Open a bench whose endpoints, all of them embedded, have engines that a test can look into.

    `observe` sees every change of every engine; `ports` names the endpoints whose servers have a fixed port.
    """
    scrubber, clock = Scrubber(), SystemClock()
    configuration = load_config_text(chains, folder / "chains.yaml", {})
    async with AsyncExitStack() as stack:
        keys = KeyRing({}, scrubber.learn)
        stack.push_async_callback(keys.aclose)
        engines: dict[str, Engine] = {}
        clients: dict[str, EmbeddedClient] = {}
        for name, endpoint in configuration.endpoints.items():
            engines[name] = engine = Engine(
                endpoint.engine,
                max_users=endpoint.max_concurrency,
                port=(ports or {}).get(name, 0),
                observe=observe,
            )
            stack.push_async_callback(engine.aclose)
            clients[name] = EmbeddedClient(endpoint, engine, keys)
            stack.push_async_callback(clients[name].aclose)
        caller = ModelCaller(clients, EmbeddedProbe(engines, clock), clock, random.random)
        guild = OpenGuild(caller, scrubber, clock, system_ids(clock))
        store = await stack.enter_async_context(_open_store(folder, configuration, scrubber, guild))
        yield Bench(configuration, guild, store, store_path(folder))


def store_path(folder: Path) -> Path:
    """Return where a bench in `folder` keeps its session log."""
    return folder / "sessions.db"


@asynccontextmanager
async def _open_store(
    folder: Path, configuration: Configuration, scrubber: Scrubber, guild: OpenGuild
) -> AsyncIterator[SqliteSessionStore]:
    store = await SqliteSessionStore.open(
        store_path(folder), scrubber=scrubber, log=configuration.log, clock=guild.clock
    )
    try:
        yield store
    finally:
        await store.aclose()
