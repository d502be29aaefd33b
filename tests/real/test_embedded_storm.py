"""An engine whose users come, leave in every moment, and whose servers are shot at."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress

import httpx
import pytest
from real.fleet import MODELS
from real.processes import servers_of

from hyperguild.adapters.embedded.engine import Change, Engine
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import EngineSettings
from hyperguild.errors import ModelError, NotFoundError

USERS, MAX_USERS = 8, 5
SHOTS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
MISSING = ServerSpec(MODELS / "missing.gguf", 512)
SPECS = [
    ServerSpec(MODELS / "apprentice.gguf", 512, slots=2),
    ServerSpec(MODELS / "journeyman.gguf", 512),
    ServerSpec(MODELS / "judge.gguf", 512),
    MISSING,
]


class Storm:
    """Users of one engine, and who shoots at its servers; `outcomes` counts what became of the requests."""

    def __init__(self, seed: int, max_loaded: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.max_loaded = max_loaded
        self.engine = Engine(
            EngineSettings(max_loaded=max_loaded), max_users=MAX_USERS, observe=self._observe
        )
        self.loaded: set[ServerSpec] = set()
        self.serving = 0
        self.outcomes: Counter[str] = Counter()

    def _observe(self, change: Change) -> None:
        if change.state == "starting":
            assert change.spec not in self.loaded
            self.loaded.add(change.spec)
        elif change.state == "cold" and not change.leaving:
            self.loaded.remove(change.spec)
        assert len(self.loaded) <= self.max_loaded

    async def ask(self, spec: ServerSpec) -> None:
        """Ask a model for something that it answers at once, and stay with it for a while."""
        try:
            async with self.engine.lease(spec) as lease, httpx.AsyncClient(trust_env=False) as http:
                self.serving += 1
                try:
                    assert self.serving <= MAX_USERS
                    key = {"Authorization": f"Bearer {lease.served.key}"}
                    answer = await http.get(f"{lease.served.url}/v1/models", headers=key)
                    self.outcomes[str(answer.status_code)] += 1
                    await asyncio.sleep(self.random.random() / 20)
                except httpx.TransportError:
                    assert await lease.fate() is not None
                    self.outcomes["crashed"] += 1
                finally:
                    self.serving -= 1
        except NotFoundError:
            self.outcomes[f"no {spec.name}"] += 1
        except ModelError:
            self.outcomes["crashed"] += 1

    async def use(self, ends_at: float) -> None:
        """Ask again and again; one time in two, lose patience."""
        while asyncio.get_running_loop().time() < ends_at:
            asking = asyncio.create_task(self.ask(self.random.choice(SPECS)))
            await asyncio.wait({asking}, timeout=self.random.choice([None, None, 0.01, 0.2, 0.5]))
            asking.cancel()
            try:
                await asking
            except asyncio.CancelledError:
                self.outcomes["left"] += 1

    async def shoot(self, ends_at: float) -> None:
        """End one server after the other; return once the engine knows of the last one."""
        hit: set[int] = set()
        while asyncio.get_running_loop().time() < ends_at:
            await asyncio.sleep(self.random.random())
            servers = servers_of(os.getpid())
            assert len(servers) <= self.max_loaded
            if servers:
                with suppress(ProcessLookupError):
                    hit.add(victim := self.random.choice(servers))
                    os.kill(victim, self.random.choice(SHOTS))
        while hit & set(left := servers_of(os.getpid())) or len(left) != len(self.loaded):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("seed", "max_loaded", "seconds"),
    [
        (1, 2, 3.0),
        *(pytest.param(seed, seed % 3 + 1, 20.0, marks=pytest.mark.long) for seed in range(2, 8)),
    ],
)
async def test_an_engine_in_a_storm(seed: int, max_loaded: int, seconds: float) -> None:
    storm = Storm(seed, max_loaded)
    ends_at = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout(seconds + 90), asyncio.TaskGroup() as group:
            for _ in range(USERS):
                group.create_task(storm.use(ends_at))
            group.create_task(storm.shoot(ends_at))
        assert storm.outcomes["200"] > 0
        assert storm.outcomes["left"] > 0
        assert {one for one in storm.outcomes if one.startswith("no ")} <= {"no missing.gguf"}
        assert storm.serving == 0
        assert all(resident.users == 0 for resident in storm.engine.residents().values())
        # After all that, every model can be had.
        storm.outcomes.clear()
        for spec in SPECS:
            await storm.ask(spec)
        assert storm.outcomes == {"200": 3, "no missing.gguf": 1}
    finally:
        await storm.engine.aclose()
    assert storm.loaded == set()
    assert servers_of(os.getpid()) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
