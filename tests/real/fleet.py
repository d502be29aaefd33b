"""Real model servers for tests, and a bench that walks chains over them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import Guild, open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.events import AnswerDelta, Event
from hyperguild.domain.records import RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.skills.catalog import SkillCatalog

HERE = Path(__file__).parent
MODELS = HERE / "models"

START_LIMIT_S = 30.0
"""A server is up in a fifth of a second; this only keeps a broken one from hanging the tests."""

API_KEY = "k-3f9a51c07d2e"
"""Of the server with the small window."""

ISO_DATE_SKILL = """\
---
name: iso-date
description: Turns a date in any human form into YYYY-MM-DD.
---
Say the date of the first line as YYYY-MM-DD, or `invalid` if there is no such day. Say nothing else.
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A llama.cpp server; `url` has no path."""

    url: str

    def busy_slots(self) -> int:
        """Return how many generations it is at."""
        slots = httpx.get(f"{self.url}/slots", trust_env=False).raise_for_status().json()
        return sum(1 for slot in slots if slot["is_processing"])


@contextmanager
def serving(gguf: Path, log: Path, *, ctx: int = 512, api_key: str | None = None) -> Iterator[Server]:
    """Serve the model from a process of its own on a free port; end the process with the block.

    `ctx` is in tokens per slot. What the server says goes to `log`. Raises `RuntimeError`, with the end of
    that log, where the server does not come up.
    """
    argv = [sys.executable, str(HERE / "llama_server.py"), str(gguf), "--ctx", str(ctx)]
    argv += ["--api-key", api_key] if api_key else []
    with (
        log.open("w") as stderr,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"no server for {gguf.name}: {log.read_text()[-800:]}")
            server = Server(line.split()[-1])
            _await_health(server.url)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_health(url: str) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > ends_at:
            raise RuntimeError(f"{url} does not become healthy")
        time.sleep(0.02)


def write_skill(folder: Path) -> Path:
    """Write the skill `iso-date` into `folder`/skills; return the latter."""
    skills = folder / "skills"
    (skills / "iso-date").mkdir(parents=True)
    (skills / "iso-date" / "SKILL.md").write_text(ISO_DATE_SKILL, encoding="utf-8")
    return skills


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
    guild: Guild
    store: SqliteSessionStore
    db: Path
    skills: SkillCatalog

    async def run(self, task: str, *, chain: str | None = None, sink: Seen | None = None) -> RunResult:
        """Walk a task through the chain, as `hyperguild run iso-date TASK` does; see `Guild.run`."""
        skill = self.skills.get("iso-date")
        request = RunRequest(
            skill=skill.name,
            system_prompt=skill.system_prompt(task),
            task=Task(task),
            chain=self.configuration.chain_for(skill.name, chain),
        )
        return await self.guild.run(request, self.store, sink or Seen())

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
    skills, scrubber = write_skill(folder), Scrubber()
    configuration = load_config_text(chains, folder / "chains.yaml", env)
    async with open_guild(configuration, env, scrubber) as guild:
        db = folder / "sessions.db"
        store = await SqliteSessionStore.open(db, scrubber=scrubber, log=configuration.log, clock=guild.clock)
        try:
            yield Bench(configuration, guild, store, db, SkillCatalog((skills,)))
        finally:
            await store.aclose()
