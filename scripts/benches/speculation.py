"""What it saves to start tools before the model asks for them, and what it costs where they are not wanted.

A task of three steps with a tool each: the model takes 300 ms a step, a tool 400 ms. Each round walks it with
right guesses, with wrong ones and with none, over one simulated fleet; figures are medians of the rounds,
each taken against the run without guesses of its own round. Exits with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from measure import machine, spread, table

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.adapters.tools.functions import tool
from hyperguild.bootstrap import Additions, open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event, SpeculationSettled, ToolReturned
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

MODEL_S, TOOL_S, STEPS = 0.3, 0.4, 3
MIN_SAVED = 0.70
"""Right guesses save at least so much of the time of the tools."""

MAX_COST = 0.05
"""Wrong guesses cost at most so much of the time of the run."""

CHAINS = """\
version: 1
endpoints: {{box: {{kind: openai, base_url: "{url}/openai/v1"}}}}
models: {{m: {{endpoint: box, context_window: 65536}}}}
chains: {{default: [{{model: m, verify: false}}]}}
skills:
  none: {{}}
  right: {{speculate: [{right}]}}
  wrong: {{speculate: [{wrong}]}}
"""
PLACES = [f"place {number}" for number in range(STEPS)]


@tool(effect="read")
async def look_up(place: str) -> str:
    """Look a place up."""
    await asyncio.sleep(TOOL_S)
    return f"{place} is there"


class Outcomes:
    """Keeps what became of guesses, and of calls."""

    def __init__(self) -> None:
        self.guesses: list[str] = []
        self.results: list[str] = []

    def emit(self, event: Event) -> None:
        """Take note of the event."""
        if isinstance(event, SpeculationSettled):
            self.guesses.append(event.outcome)
        elif isinstance(event, ToolReturned):
            self.results.append(event.text)


def script() -> dict[str, Any]:
    """Return what the model says: a call in each step, then the answer."""
    called = [{"tool_calls": [{"name": "look_up", "arguments": {"place": place}}]} for place in PLACES]
    answers = [{**one, "times": 1, "delay_s": MODEL_S} for one in [*called, {"text": "All are there."}]]
    return {"openai": {"models": {"m": {"answers": answers}}}}


def rules(places: list[str]) -> str:
    """Return rules that guess a call for each of the places, in any task."""
    return ", ".join(f'{{tool: look_up, arguments: {{place: "{place}"}}}}' for place in places)


async def measured(fleet: FleetProcess, rounds: int) -> dict[str, list[tuple[float, Outcomes]]]:
    """Walk every variant once a round, each round in another order; return the seconds and what happened."""
    taken: dict[str, list[tuple[float, Outcomes]]] = {"none": [], "right": [], "wrong": []}
    names = list(taken)
    with tempfile.TemporaryDirectory() as name:
        folder, scrubber = Path(name), Scrubber()
        text = CHAINS.format(
            url=fleet.url, right=rules(PLACES), wrong=rules([f"no {place}" for place in PLACES])
        )
        configuration = load_config_text(text, folder / "chains.yaml", {})
        store = await SqliteSessionStore.open(
            folder / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
        )
        async with open_guild(configuration, {}, scrubber, additions=Additions((look_up,))) as guild:
            for number in range(rounds + 1):  # the first one warms up
                turn = number % len(names)
                for skill in names[turn:] + names[:turn]:
                    fleet.script(script())
                    outcomes = Outcomes()
                    request = RunRequest(
                        skill,
                        "Be brief.",
                        Task("Are the places there?"),
                        configuration.chain_for(skill),
                        work=WorkOrder(folder, built_in=False),
                    )
                    began = time.perf_counter()
                    result = await guild.run(request, store, outcomes)
                    took_s = time.perf_counter() - began
                    assert result.output == "All are there."
                    assert outcomes.results == [f"{place} is there" for place in PLACES]
                    if number:
                        taken[skill].append((took_s, outcomes))
        await store.aclose()
    return taken


def main() -> int:
    """Print what guesses save and cost; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of three runs (5)")
    options = parser.parse_args()
    print(f"{machine()}; medians (lowest-highest) of {options.rounds} rounds\n")
    with FleetProcess(script()) as fleet:
        taken = asyncio.run(measured(fleet, options.rounds))
    plain = [took_s for took_s, _ in taken["none"]]
    rows = []
    for name, runs in taken.items():
        outcomes = [outcome for _, one in runs for outcome in one.guesses]
        hits = outcomes.count("hit") / len(runs)
        saved_ms = [(base - took_s) * 1000 for base, (took_s, _) in zip(plain, runs, strict=True)]
        took_ms = spread([took_s * 1000 for took_s, _ in runs], 0)
        rows.append([name, took_ms, f"{hits:g} of {len(outcomes) / len(runs):g}", spread(saved_ms, 0)])
    print(table(["guesses", "ms for the run", "hits", "ms saved"], rows))
    pairs = [zip(plain, taken[name], strict=True) for name in ("right", "wrong")]
    saved = median((base - took_s) / (STEPS * TOOL_S) for base, (took_s, _) in pairs[0])
    cost = median(took_s / base - 1 for base, (took_s, _) in pairs[1])
    print(f"\nRight guesses save {saved:.0%} of the time of the tools; at least {MIN_SAVED:.0%} is wanted.")
    print(f"Wrong guesses cost {cost:.1%} of the run; at most {MAX_COST:.0%} is allowed.")
    return 0 if saved >= MIN_SAVED and cost <= MAX_COST else 1


if __name__ == "__main__":
    sys.exit(main())
