"""G1 in the loop: the window that the server tells wins over the configured one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.looping import PROMPT, allow, calls, says, tool, whole

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.models import open_client
from hyperguild.adapters.probes import LlamaSwapProbe
from hyperguild.adapters.probes.windows import ServerWindows
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.agent.loop import AgentLoop
from hyperguild.agent.terms import LoopRequest, LoopTools
from hyperguild.agent.toolbox import CallRules, Toolbox
from hyperguild.agent.watch import Compacted, KeptStep, LoopEvent, LoopWatch
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Endpoint, Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.inference.call import ModelCaller
from hyperguild.simulation.process import FleetProcess


@dataclass
class Ran:
    """What came of a loop over the simulated llama-swap."""

    text: str
    compacted: int
    known: int | None
    events: list[LoopEvent] = field(default_factory=list)


async def read(path: str) -> str:
    return f"{path}: " + " ".join(str(n * 7919 % 10007) for n in range(120))


async def run(fleet: FleetProcess, *, served: int | None, configured: int | None) -> Ran:
    """Read eight files; the answers of the tool come to some 3,000 tokens."""
    steps = [calls({"name": "read", "arguments": {"path": f"f{n}"}}) for n in range(8)]
    summary = {"text": "Goal: read. Done: some.", "when": {"contains": "<record"}}
    answers = [summary, *steps, says("All read.")]
    # What it says of its window is not what it enforces, so that an overflow cannot be what compacts.
    server = "teller" if served else "nobody"
    model: dict[str, Any] = {"answers": answers, "proxy": f"{fleet.url}/server/{server}"}
    teller = {"context": served, "proxy": f"{fleet.url}/server/teller"}
    fleet.script(
        {
            "groups": {"all": {"swap": False, "members": ["m", "teller"]}},
            "models": {"m": model, "teller": teller},
        }
    )
    fleet.reset()
    endpoint = Endpoint("swap", "llama-swap", fleet.url, probe_timeout_ms=20_000)
    clock, keys = SystemClock(), KeyRing({})
    client, probe = open_client(endpoint, keys=keys), LlamaSwapProbe(keys, clock)
    windows = ServerWindows(keys, clock, {"llama-swap": probe.server_of})
    caller = ModelCaller({"swap": client}, probe, clock, lambda: 0.0, windows)
    asked = Model("m", endpoint, "m", "managed", context_window=configured)  # no old result is shrunk
    if served:
        await fleet_loads(caller, Model("teller", endpoint, "teller", "local"))
    request = LoopRequest(
        model=asked,
        prompt=PROMPT,
        policy=AgentPolicy(two_stage="never"),
        limits=TimeLimits(),
        retry=RetryPolicy(),
        warm_state=await caller.warm_state(asked),
    )
    events: list[LoopEvent] = []

    async def keep(step: KeptStep) -> None:
        del step

    toolbox = Toolbox([tool(read)], CallRules(allow, whole, timeout_s=10), clock)
    loop = AgentLoop(
        request, LoopTools(caller, toolbox, clock, system_ids(clock)), LoopWatch(events.append, keep)
    )
    end = await loop.run()
    await probe.aclose()
    await client.aclose()
    compacted = [event for event in events if isinstance(event, Compacted)]
    return Ran(end.text, len(compacted), caller.known_window(asked), events)


async def fleet_loads(caller: ModelCaller, model: Model) -> None:
    """Let the fleet load a model."""
    await caller.complete(
        ModelRequest(model, (Message("user", "Hello"),)),
        TimeLimits(),
        retry=RetryPolicy(),
        warm_state=None,
        observe=lambda _: None,
    )


async def test_g1_the_servers_own_window_wins_over_a_larger_configured_one(fleet: FleetProcess) -> None:
    ran = await run(fleet, served=1500, configured=100_000)
    assert ran.text == "All read."
    assert ran.compacted > 0
    assert ran.known == 1500


async def test_g1_the_servers_own_window_wins_over_a_smaller_configured_one(fleet: FleetProcess) -> None:
    ran = await run(fleet, served=100_000, configured=1500)
    assert (ran.text, ran.compacted, ran.known) == ("All read.", 0, 100_000)


async def test_g1_else_the_configured_one_counts(fleet: FleetProcess) -> None:
    ran = await run(fleet, served=None, configured=1500)
    assert ran.compacted > 0
    assert ran.known == 1500


async def test_g1_an_unknown_window_is_summarised_on_overflow_only(fleet: FleetProcess) -> None:
    ran = await run(fleet, served=None, configured=None)
    assert (ran.text, ran.compacted, ran.known) == ("All read.", 0, None)
