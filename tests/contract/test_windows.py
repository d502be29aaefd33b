"""G1: the window that a server tells of, from recorded answers and from the simulated fleet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import respx
from wire_support import SWAP_URL, anthropic, ask, keys, model_on, mounted, openai, swap

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.models import open_client
from hyperguild.adapters.probes import LlamaSwapProbe
from hyperguild.adapters.probes.windows import KEPT_S, ServerWindows, local_server
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.simulation.process import FleetProcess

PATIENT_MS = 20_000
HERE = "http://127.0.0.1:9000"
PROPS = {"total_slots": 4, "default_generation_settings": {"n_ctx": 8192}}


class Time:
    """Stands still unless moved."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Rig:
    """A local server of the OpenAI protocol, mounted."""

    def __init__(self) -> None:
        self.clock = Time()
        self.router = respx.MockRouter(assert_all_called=False)
        self.models = self.router.get(f"{HERE}/v1/models")
        self.props = self.router.get(f"{HERE}/props").respond(404, json={})
        self.windows = ServerWindows(keys(), self.clock, {"openai": local_server}, mounted(self.router))  # type: ignore[arg-type]
        self.model = model_on(openai(f"{HERE}/v1", probe_timeout_ms=PATIENT_MS), "phi", label="local")

    def lists(self, *rows: Any) -> None:
        self.models.respond(json={"object": "list", "data": list(rows)})


@pytest.fixture
def rig() -> Rig:
    return Rig()


def row(name: str, **meta: Any) -> dict[str, Any]:
    return {"id": name, "object": "model", "owned_by": "llamacpp", "meta": meta}


async def test_g1_the_window_is_that_of_a_slot_as_the_server_lists_it(rig: Rig) -> None:
    rig.lists(row("some.gguf", n_ctx=4096, n_ctx_train=32768))
    assert await rig.windows.window(rig.model) == 4096
    assert not rig.props.called


async def test_g1_of_several_models_the_one_that_is_named_counts(rig: Rig) -> None:
    rig.lists(row("other", n_ctx=512), row("phi", n_ctx=4096))
    assert await rig.windows.window(rig.model) == 4096


async def test_g1_older_servers_tell_in_their_properties(rig: Rig) -> None:
    rig.lists(row("some.gguf", n_ctx_train=32768))
    rig.props.respond(json=PROPS)
    assert await rig.windows.window(rig.model) == 8192


async def test_g1_a_router_of_models_is_not_asked_for_properties(rig: Rig) -> None:
    rig.lists(row("phi"), row("other"))  # there that question may load one
    rig.props.respond(json=PROPS)
    assert await rig.windows.window(rig.model) is None
    assert not rig.props.called


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"data": [row("phi", n_ctx=True)]}),
        httpx.Response(200, json={"data": [row("phi", n_ctx=0)]}),
        httpx.Response(200, json={"data": [row("phi", n_ctx="4096")]}),
        httpx.Response(200, json={"data": [{"id": "phi", "meta": 1}]}),
        httpx.Response(200, json={"data": "?"}),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, text="<html>"),
        httpx.Response(401, json={}),
        httpx.Response(500),
        httpx.ConnectError("refused"),
    ],
)
async def test_g1_what_says_nothing_of_a_window_never_fails(rig: Rig, answer: Any) -> None:
    rig.models.mock(side_effect=[answer])
    assert await rig.windows.window(rig.model) is None


async def test_g1_a_server_that_hangs_costs_the_time_of_a_probe(rig: Rig) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        return httpx.Response(200, request=request)

    rig.models.mock(side_effect=hang)
    hasty = model_on(openai(f"{HERE}/v1", probe_timeout_ms=50), "phi", label="local")
    async with asyncio.timeout(20):
        assert await rig.windows.window(hasty) is None


async def test_g1_a_server_is_asked_once_for_each_load(rig: Rig) -> None:
    rig.lists(row("phi", n_ctx=4096))
    assert rig.windows.known(rig.model) is None
    assert {await rig.windows.window(rig.model) for _ in range(3)} == {4096}
    assert rig.windows.known(rig.model) == 4096
    assert rig.models.call_count == 1
    rig.lists(row("phi", n_ctx=2048))
    rig.windows.forget(rig.model)
    assert await rig.windows.window(rig.model) == 2048
    rig.clock.now_s += KEPT_S  # nobody tells when a server outside is started anew
    rig.lists(row("phi", n_ctx=1024))
    assert await rig.windows.window(rig.model) == 1024
    assert rig.models.call_count == 3


@pytest.mark.parametrize("endpoint", [anthropic(), openai()])
async def test_g1_clouds_are_not_asked(rig: Rig, endpoint: Endpoint) -> None:
    assert await rig.windows.window(model_on(endpoint)) is None  # anything sent would fail the test


# -- llama-swap


class Swap:
    """The simulated llama-swap, and the windows of its models."""

    def __init__(self, fleet: FleetProcess, **fields: Any) -> None:
        self.fleet = fleet
        model = {"context": 4096, "proxy": f"{fleet.url}/server/m", "aliases": ["alias"], **fields}
        fleet.script({"models": {"m": model, "n": {}}})
        fleet.reset()
        endpoint = swap(fleet.url, probe_timeout_ms=PATIENT_MS)
        self.client = open_client(endpoint, keys=keys())
        self.probe = LlamaSwapProbe(keys(), SystemClock())
        self.windows = ServerWindows(keys(), SystemClock(), {"llama-swap": self.probe.server_of})
        self.m, self.alias, self.n = (model_on(endpoint, name, name=name) for name in ("m", "alias", "n"))

    async def load(self, model: Model) -> None:
        async for _ in self.client.stream(ask(model)):
            pass

    async def aclose(self) -> None:
        await self.probe.aclose()
        await self.client.aclose()


@pytest_asyncio.fixture
async def served(fleet: FleetProcess) -> AsyncIterator[Swap]:
    made = Swap(fleet)
    yield made
    await made.aclose()


@pytest.fixture(scope="module")
def fleet() -> Any:
    with FleetProcess({}) as running:
        yield running


async def test_g1_llama_swap_the_models_own_server_is_asked(served: Swap) -> None:
    await served.load(served.m)
    assert await served.windows.window(served.m) == 4096
    assert await served.windows.window(served.alias) == 4096


async def test_g1_llama_swap_asking_loads_nothing(served: Swap) -> None:
    assert await served.windows.window(served.m) is None
    await served.load(served.m)
    address = await served.probe.server_of(served.m)
    await served.load(served.n)  # which evicts the first
    assert address is not None

    async def still_there(model: Model) -> Endpoint | None:
        return address

    late = ServerWindows(keys(), SystemClock(), {"llama-swap": still_there})
    assert await late.window(served.m) is None
    assert await served.probe.state(served.m) == "cold"
    paths = [one["path"] for one in served.fleet.requests()]
    assert not [path for path in paths if path.startswith("/upstream")]


@pytest.mark.parametrize(
    "proxy",
    ["http://192.0.2.7:5800", "http://elsewhere.example:1", "not a URL", "http://127.0.0.1:1"],
)
async def test_g1_llama_swap_only_addresses_of_this_machine_are_asked(
    fleet: FleetProcess, proxy: str
) -> None:
    made = Swap(fleet, proxy=proxy)
    await made.load(made.m)
    if "127.0.0.1" not in proxy:
        assert await made.probe.server_of(made.m) is None
    assert await made.windows.window(made.m) is None
    await made.aclose()


async def test_g1_llama_swap_on_another_machine_is_not_asked() -> None:
    router = respx.MockRouter(assert_all_called=False)
    elsewhere = "http://192.168.1.5:8080"
    row_here = {"model": "m", "state": "ready", "proxy": SWAP_URL}
    running = router.get(f"{elsewhere}/running").respond(json={"running": [row_here]})
    probe = LlamaSwapProbe(keys(), SystemClock(), mounted(router))
    assert await probe.server_of(model_on(swap(elsewhere), "m")) is None
    assert not running.called
    await probe.aclose()
