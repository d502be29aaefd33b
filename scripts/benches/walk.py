"""Our own share of a model call and of a whole escalated run, against the same calls as a bare aiohttp loop.

The servers are the simulated fleet without delays, a process of its own on this machine; all clients run in
this process, one after the other in short legs, so that CPU time can be told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import httpx
from measure import Job, Sample, machine, ratios, rounds, spread, table
from workload import (
    ask_in_turn,
    ask_with_aiohttp,
    ask_with_httpx,
    configuration,
    messages,
    run_request,
    script,
)

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.models import open_client
from hyperguild.adapters.models.openai_compatible import request_body
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, aiohttp_transport, plain_transport
from hyperguild.bootstrap import open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event
from hyperguild.domain.messages import ModelRequest, TextDelta
from hyperguild.domain.secrets import Scrubber
from hyperguild.simulation.process import FleetProcess

FLOOR = "bare aiohttp"
TRANSPORTS: dict[str, TransportFactory] = {
    "hyperguild over httpx": plain_transport,
    "hyperguild over aiohttp": aiohttp_transport,
}


class CountingSink:
    """Takes events and counts them: the cost of a view is not the walk's."""

    def __init__(self) -> None:
        self.count = 0

    def emit(self, event: Event) -> None:
        """Count the event."""
        del event
        self.count += 1


@asynccontextmanager
async def bare_loops(url: str) -> AsyncGenerator[dict[str, Any], None]:
    """Open the hand-written clients, aiohttp's first: it is the floor."""
    no_limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        httpx.AsyncClient(limits=no_limits, timeout=None, trust_env=False) as client,  # noqa: S113  # as ours
    ):
        yield {FLOOR: ask_with_aiohttp(session, url), "bare httpx": ask_with_httpx(client, url)}


async def completions(url: str, configured: Configuration, options: argparse.Namespace) -> list[list[str]]:
    """Measure one completion by every client; return the rows of the table."""
    request = ModelRequest(configured.model("strong"), messages())
    body = request_body(request)
    async with AsyncExitStack() as stack:
        asks = await stack.enter_async_context(bare_loops(url))
        jobs: dict[str, Job] = {name: _asking(ask, [body]) for name, ask in asks.items()}
        keys = KeyRing({}, lambda _name, _value: None)
        for name, transport in TRANSPORTS.items():
            client = open_client(request.model.endpoint, keys=keys, transport_factory=transport)
            stack.push_async_callback(client.aclose)

            async def complete(client: Any = client) -> None:
                async with aclosing(client.stream(request)) as parts:
                    assert "".join([part.text async for part in parts if isinstance(part, TextDelta)])

            jobs[name] = complete
        return await _measured(jobs, options)


async def runs(
    fleet: FleetProcess, configured: Configuration, options: argparse.Namespace
) -> tuple[list[list[str]], int]:
    """Measure a whole run over both transports; return the rows, and how many events a run emits."""
    request, clock, sink = run_request(configured), SystemClock(), CountingSink()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        walks: dict[str, Job] = {}
        for number, (name, transport) in enumerate(TRANSPORTS.items()):
            scrubber = Scrubber()
            store = await SqliteSessionStore.open(
                Path(folder) / f"{number}.db", scrubber=scrubber, log=LogPolicy(), clock=clock
            )
            stack.push_async_callback(store.aclose)
            guild = await stack.enter_async_context(open_guild(configured, {}, scrubber, transport=transport))

            async def run(guild: Any = guild, store: Any = store) -> None:
                result = await guild.run(request, store, sink)
                assert [attempt.verdict for attempt in result.attempts] == ["escalate", "accept"]

            walks[name] = run
        await walks["hyperguild over aiohttp"]()
        events = sink.count
        asks = await stack.enter_async_context(bare_loops(fleet.url))
        bodies = [one["body"] for one in fleet.requests() if one["path"].endswith("/chat/completions")][-4:]
        bare: dict[str, Job] = {FLOOR: _asking(asks[FLOOR], bodies)}
        return await _measured(bare | walks, options), events


def _asking(ask: Any, bodies: Sequence[dict[str, Any]]) -> Job:
    async def job() -> None:
        await ask_in_turn(ask, bodies)

    return job


async def _measured(jobs: Mapping[str, Job], options: argparse.Namespace) -> list[list[str]]:
    rows = []
    for at_once in options.at_once:
        samples = await rounds(jobs, at_once=at_once, count=options.rounds, seconds=options.seconds)
        rows += [_row(at_once, name, taken, samples[FLOOR]) for name, taken in samples.items()]
    return rows


def _row(at_once: int, name: str, taken: list[Sample], floor: list[Sample]) -> list[str]:
    cpu, floor_cpu = [one.cpu_ms for one in taken], [one.cpu_ms for one in floor]
    per_s, floor_per_s = [one.per_s for one in taken], [one.per_s for one in floor]
    return [
        str(at_once),
        name,
        f"{median(per_s):.0f}",
        spread(ratios(per_s, floor_per_s)),
        f"{median(cpu):.2f}",
        spread(ratios(cpu, floor_cpu), 1),
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, default=0.25, help="length of one leg (0.25)")
    parser.add_argument("--tokens", type=int, default=50, help="pieces of an answer (50)")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16, 64], help="concurrency (1 16 64)")
    options = parser.parse_args()
    print(f"{machine()}; answers of {options.tokens} tokens; medians of {options.rounds} rounds\n")
    with FleetProcess(script(options.tokens)) as fleet:
        configured = configuration(fleet.url)
        completed = asyncio.run(completions(fleet.url, configured, options))
        walked, events = asyncio.run(runs(fleet, configured, options))
    header = ["at once", "client", "{}/s", "× floor (spread)", "CPU ms", "× floor (spread)"]
    print("One completion:\n")
    print(table([cell.format("requests") for cell in header], completed))
    print(f"\nOne escalated run: four calls, {events} events, the session log in SQLite:\n")
    print(table([cell.format("runs") for cell in header], walked))


if __name__ == "__main__":
    main()
