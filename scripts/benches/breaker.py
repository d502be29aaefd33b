"""How long a run takes to go on to the next tier while the first one's endpoint is down, request by request.

Ten runs in a row over one session log, each in an opened guild of its own, as ten commands would be. The
first finds out that nothing listens; from then on the breaker knows. Exits with 1 where the tenth is slow.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from measure import machine, table

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import AttemptFinished, AttemptStarted, Event, RunStarted, VerdictGiven
from hyperguild.domain.records import RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

LIMIT_MS = 5.0
"""A decision to go on must take less (the tenth in a row)."""

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{down}"}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic"}}
models: {{small: {{endpoint: swap}}, large: {{endpoint: cloud}}}}
verifiers: {{default: {{checks: [{{kind: not_empty}}]}}}}
chains: {{default: [small, large]}}
"""
SCRIPT = {"anthropic": {"models": {"large": {"answers": [{"text": "the answer"}]}}}}


class Moments:
    """Keeps when each event of a run came, in seconds."""

    def __init__(self) -> None:
        self._at: list[tuple[Event, float]] = []

    def emit(self, event: Event) -> None:
        """Note the event."""
        self._at.append((event, time.perf_counter()))

    def first(self, kind: type[Event]) -> float:
        """Return when the first event of the kind came."""
        return next(at for event, at in self._at if isinstance(event, kind))

    def ms(self, begin: type[Event], end: type[Event]) -> float:
        """Return the milliseconds from the first event of one kind to that of another."""
        return (self.first(end) - self.first(begin)) * 1000


async def runs(url: str, down: str, number: int) -> list[tuple[RunResult, Moments]]:
    """Walk so many times, one after the other; return the results and when what happened."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        configuration = load_config_text(CHAINS.format(url=url, down=down), Path(folder) / "chains.yaml", {})
        request = RunRequest("bench", "Be brief.", Task("the task"), configuration.chain_for("bench"))
        for _ in range(number):
            scrubber, moments = Scrubber(), Moments()
            store = await SqliteSessionStore.open(
                Path(folder) / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
            )
            async with open_guild(configuration, {}, scrubber) as guild:
                taken.append((await guild.run(request, store, moments), moments))
            await store.aclose()
    return taken


def closed_port() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def main() -> int:
    """Print the decision of each request; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rows of ten requests (5)")
    options = parser.parse_args()
    print(f"{machine()}; medians of {options.rounds} rows of ten requests\n")
    with FleetProcess(SCRIPT) as fleet:
        rounds = [asyncio.run(runs(fleet.url, closed_port(), 10)) for _ in range(options.rounds)]
    rows = []
    for number, same in enumerate(zip(*rounds, strict=True), start=1):
        results = [result.attempts[0] for result, _ in same]
        decided = [moments.ms(AttemptStarted, VerdictGiven) for _, moments in same]
        durable = [moments.ms(AttemptStarted, AttemptFinished) for _, moments in same]
        whole = [moments.ms(RunStarted, AttemptFinished) for _, moments in same]
        figures = [f"{median(times):.2f} ({max(times):.2f})" for times in (decided, durable, whole)]
        rows.append([str(number), str(results[0].cause), *figures])
    header = ["request", "first tier", "ms to decide (worst)", "… and on record", "… since the run began"]
    print(table(header, rows))
    tenth = median(moments.ms(AttemptStarted, VerdictGiven) for _, moments in [row[9] for row in rounds])
    print(f"\nThe tenth request decides to go on in {tenth:.2f} ms; the limit is {LIMIT_MS:g} ms.")
    return 0 if tenth < LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
