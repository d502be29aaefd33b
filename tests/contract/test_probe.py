"""What the warm probe says, of recorded answers and of the simulated fleet as a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
import respx
from wire_support import SWAP_URL, anthropic, keys, model_on, mounted, openai, raw_server, swap

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.models import open_client
from hyperguild.adapters.probes import ListedModel, LlamaSwapProbe, take_inventory
from hyperguild.adapters.probes.by_kind import ProbeByKind
from hyperguild.adapters.probes.llama_swap import NAMES_KEPT_S
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.domain.chain import Endpoint, KeySource, Model
from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.domain.records import WarmState
from hyperguild.errors import AuthError, ConnectError, ModelTimeoutError, NotFoundError, ProtocolError
from hyperguild.simulation.process import FleetProcess

PATIENT = swap(probe_timeout_ms=20_000)
"""For what is not about time: a busy machine must not turn an answer into `unknown`."""

MODELS = {
    "object": "list",
    "data": [
        {
            "id": "alpha-1b",
            "meta": {"llamaswap": {"aliases": ["alpha", "gpt-4o-mini"], "type": "model"}},
            "status": {"value": "loaded"},
        },
        {"id": "beta-7b", "meta": {"llamaswap": {"type": "model"}}, "status": {"value": "unloaded"}},
        {"id": "b", "meta": {"llamaswap": {"modelID": "beta-7b", "type": "alias"}}},
        {
            "id": "coder-any",
            "meta": {"llamaswap": {"strategy": "warm", "targets": ["b", "alpha-1b"], "type": "selector"}},
        },
        {"id": "deadpeer/cloudy", "meta": {"llamaswap": {"peerID": "deadpeer", "type": "peer"}}},
        {"id": "bare-row", "object": "model"},
    ],
}


class FakeClock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


class Rig:
    """A probe over a mounted llama-swap."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.router = respx.MockRouter(assert_all_called=False)
        self.running = self.router.get(f"{SWAP_URL}/running")
        self.models = self.router.get(f"{SWAP_URL}/v1/models").respond(json=MODELS)
        self.probe = LlamaSwapProbe(keys(), self.clock, mounted(self.router))

    def runs(self, **states: str) -> None:
        rows = [{"model": name.replace("_", "-"), "state": state} for name, state in states.items()]
        self.running.respond(json={"running": rows})

    async def state(self, name: str) -> WarmState:
        return await self.probe.state(model_on(PATIENT, name))


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.probe.aclose()
    await made.probe.aclose()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ready", "ready"),
        ("starting", "starting"),
        ("stopping", "cold"),
        ("shutdown", "cold"),
        ("new", "cold"),
    ],
)
async def test_states(rig: Rig, said: str, meant: str) -> None:
    rig.runs(alpha_1b=said)

    assert await rig.state("alpha-1b") == meant


async def test_a_listed_model_that_does_not_run_is_cold(rig: Rig) -> None:
    rig.runs(alpha_1b="ready")

    assert await rig.state("beta-7b") == "cold"
    assert await rig.state("nobody") == "cold"
    assert await rig.state("bare-row") == "cold"


async def test_names_must_be_exact(rig: Rig) -> None:
    rig.running.respond(json={"running": [{"model": "phi4-mini", "state": "ready"}]})

    assert await rig.state("phi4") == "cold"
    assert await rig.state("phi4-mini") == "ready"
    assert await rig.state("phi4-mini-2") == "cold"


@pytest.mark.parametrize("alias", ["alpha", "gpt-4o-mini"])
async def test_an_alias_is_resolved(rig: Rig, alias: str) -> None:
    rig.runs(alpha_1b="ready")
    assert await rig.state(alias) == "ready"

    rig.runs(alpha_1b="starting")
    assert await rig.state(alias) == "starting"

    rig.runs(beta_7b="ready")
    assert await rig.state(alias) == "cold"
    assert await rig.state("b") == "ready"
    assert rig.models.call_count == 1


async def test_a_selector_is_as_warm_as_its_warmest_target(rig: Rig) -> None:
    rig.runs(alpha_1b="starting", beta_7b="ready")
    assert await rig.state("coder-any") == "ready"

    rig.runs(alpha_1b="starting")
    assert await rig.state("coder-any") == "starting"

    rig.runs()
    assert await rig.state("coder-any") == "cold"


@pytest.mark.parametrize("name", ["deadpeer/cloudy", "cloudy"])
async def test_what_a_peer_hosts_is_unknown(rig: Rig, name: str) -> None:
    rig.runs()

    assert await rig.state(name) == "unknown"


async def test_names_are_remembered_but_not_for_ever(rig: Rig) -> None:
    rig.runs(alpha_1b="ready")
    await rig.state("alpha")
    await rig.state("nobody")
    assert rig.models.call_count == 1

    rig.clock.time += NAMES_KEPT_S
    await rig.state("alpha")
    assert rig.models.call_count == 1
    await rig.state("nobody")
    assert rig.models.call_count == 2


async def test_names_that_cannot_be_had_again_are_still_good(rig: Rig) -> None:
    rig.runs(alpha_1b="ready")
    await rig.state("alpha")
    rig.models.respond(500)
    rig.clock.time += NAMES_KEPT_S

    assert await rig.state("nobody") == "cold"
    assert await rig.state("alpha") == "ready"


async def test_without_names_an_unlisted_name_is_unknown(rig: Rig) -> None:
    rig.runs(alpha_1b="ready")
    rig.models.respond(500)

    assert await rig.state("alpha") == "unknown"
    assert await rig.state("alpha-1b") == "ready"


@pytest.mark.parametrize(
    ("rows", "meant"),
    [
        ([{"model": "alpha-1b"}], "ready"),
        ([{"model": "alpha-1b", "state": "ready"}], "ready"),
        (None, "cold"),
    ],
)
async def test_older_servers(rig: Rig, rows: object, meant: str) -> None:
    rig.running.respond(json={"running": rows})

    assert await rig.state("alpha-1b") == meant


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(401, json={"error": {"message": "unauthorized"}}),
        httpx.Response(404, text="404 page not found"),
        httpx.Response(500),
        httpx.Response(200, text="OK"),
        httpx.Response(200, html="<p>hello"),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"running": "alpha-1b"}),
        httpx.Response(200, json={"running": ["alpha-1b"]}),
        httpx.Response(200, json={"running": [{"state": "ready"}]}),
        httpx.Response(302, headers={"location": "/login"}),
        httpx.ConnectError("down"),
        httpx.ReadError("broke"),
    ],
)
async def test_what_cannot_be_had_is_unknown(rig: Rig, response: httpx.Response | Exception) -> None:
    if isinstance(response, Exception):
        rig.running.mock(side_effect=response)
    else:
        rig.running.mock(return_value=response)

    assert await rig.state("alpha-1b") == "unknown"


async def test_an_unset_key_is_unknown(rig: Rig) -> None:
    assert await rig.probe.state(model_on(swap(key=KeySource(env="MISSING")), "alpha-1b")) == "unknown"


async def test_other_kinds_are_not_probed(rig: Rig) -> None:
    probe = ProbeByKind({"llama-swap": rig.probe})
    for endpoint in (openai(), anthropic()):
        assert await probe.state(model_on(endpoint)) == "unknown"
    assert rig.router.calls.call_count == 0


async def test_a_server_that_is_down_is_unknown() -> None:
    probe = LlamaSwapProbe(keys(), SystemClock())

    assert await probe.state(model_on(swap("http://127.0.0.1:1"))) == "unknown"
    await probe.aclose()


@pytest.mark.parametrize("sends", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"])
async def test_a_server_that_is_slow_is_unknown(sends: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sends)
        while await reader.read(1000):
            pass

    async with raw_server(talk) as url, asyncio.timeout(20):
        probe = LlamaSwapProbe(keys(), SystemClock())
        assert await probe.state(model_on(swap(url, probe_timeout_ms=100))) == "unknown"
        await probe.aclose()


async def test_slow_names_are_within_the_same_limit() -> None:
    """/running answers at once, /v1/models never: both together take one limit, not two."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"running":[]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        while await reader.read(1000):
            pass

    async with raw_server(talk) as url, asyncio.timeout(20):
        probe = LlamaSwapProbe(keys(), SystemClock())
        assert await probe.state(model_on(swap(url, probe_timeout_ms=100))) == "unknown"
        await probe.aclose()


def held_back(release: asyncio.Event, body: object) -> Callable[[httpx.Request], Any]:
    async def answer(request: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200, json=body)

    return answer


async def test_those_who_ask_at_once_share_one_request(rig: Rig) -> None:
    release = asyncio.Event()
    running = {"running": [{"model": "alpha-1b", "state": "ready"}]}
    rig.running.mock(side_effect=held_back(release, running))

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        names = ["alpha-1b", "alpha", "beta-7b"] * 5
        tasks = [group.create_task(rig.probe.state(model_on(PATIENT, name))) for name in names]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        await asyncio.sleep(0)
        release.set()

    assert tasks[0].cancelled()
    assert [task.result() for task in tasks[1:]] == (["ready", "ready", "cold"] * 5)[1:]
    assert rig.running.call_count == 1
    assert rig.models.call_count == 1
    await rig.state("alpha-1b")
    assert rig.running.call_count == 2


async def test_waiting_until_a_model_is_ready(rig: Rig) -> None:
    states = iter(["stopping", "starting", "starting", "starting", "starting", "starting", "ready"])

    def answer(request: httpx.Request) -> httpx.Response:
        state = next(states)
        if state == "stopping":
            return httpx.Response(500)
        return httpx.Response(200, json={"running": [{"model": "alpha-1b", "state": state}]})

    rig.running.mock(side_effect=answer)

    await rig.probe.wait_ready(model_on(PATIENT, "alpha"))

    assert rig.clock.slept == pytest.approx([0.05, 0.075, 0.1125, 0.16875, 0.2, 0.2])


async def test_closing_the_probe_ends_what_is_under_way(rig: Rig) -> None:
    rig.running.mock(side_effect=held_back(asyncio.Event(), {}))
    asking = asyncio.create_task(rig.probe.state(model_on(swap(probe_timeout_ms=20_000))))
    await asyncio.sleep(0.05)

    async with asyncio.timeout(20):
        await rig.probe.aclose()
        with pytest.raises(asyncio.CancelledError):
            await asking


SCRIPT = {
    "models": {
        "phi4": {"load_s": 0.6, "aliases": ["phi"], "answers": [{"text": "hi"}]},
        "phi4-mini": {"answers": [{"text": "hi"}]},
        "hidden": {"unlisted": True, "answers": [{"text": "hi"}]},
    },
    "groups": {"all": {"members": ["phi4", "phi4-mini", "hidden"], "swap": False}},
    "selectors": {"any-phi": {"targets": ["phi4-mini", "phi4"]}},
    "peers": {"far": {"models": ["cloudy"]}},
    "api_keys": {"llama_swap": ["sk-right-key"]},
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as running:
        yield running


@pytest.fixture
def endpoint(fleet: FleetProcess) -> Endpoint:
    fleet.reset()
    return swap(fleet.url, key=KeySource(env="SIM_KEY"), probe_timeout_ms=5000)


RING = KeyRing({"SIM_KEY": "sk-right-key"})


async def generate(endpoint: Endpoint, name: str) -> None:
    client = open_client(endpoint, keys=RING)
    model = Model(name, endpoint, upstream=name, label="local")
    async for _ in client.stream(ModelRequest(model, (Message("user", "hi"),))):
        pass
    await client.aclose()


async def test_a_load_seen_from_outside(endpoint: Endpoint) -> None:
    probe = LlamaSwapProbe(RING, SystemClock())
    phi4, alias = model_on(endpoint, "phi4"), model_on(endpoint, "phi")
    async with asyncio.timeout(30):
        await generate(endpoint, "phi4-mini")
        assert await probe.state(phi4) == "cold"
        assert await probe.state(model_on(endpoint, "any-phi")) == "ready"

        loading = asyncio.create_task(generate(endpoint, "phi4"))
        while await probe.state(alias) == "cold":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert await probe.state(phi4) == "starting"
        await probe.wait_ready(alias)
        assert await probe.state(phi4) == "ready"
        await loading
        await probe.aclose()


async def test_the_inventory_of_a_llama_swap(endpoint: Endpoint) -> None:
    await generate(endpoint, "phi4-mini")
    await generate(endpoint, "hidden")

    inventory = await take_inventory(endpoint, RING)

    assert inventory.endpoint == "swap"
    assert inventory.version
    assert set(inventory.models) == {
        ListedModel("phi4", "model", "cold", aliases=("phi",)),
        ListedModel("phi4-mini", "model", "ready"),
        ListedModel("hidden", "model", "ready"),
        ListedModel("any-phi", "selector", "ready", targets=("phi4-mini", "phi4")),
        ListedModel("far/cloudy", "peer", None),
    }


async def test_the_inventory_says_what_is_wrong(endpoint: Endpoint) -> None:
    with pytest.raises(AuthError, match="refuses the API key"):
        await take_inventory(endpoint, KeyRing({"SIM_KEY": "sk-wrong-key"}))
    with pytest.raises(AuthError, match="SIM_KEY is not set"):
        await take_inventory(endpoint, KeyRing({}))
    with pytest.raises(ConnectError, match="nothing listens"):
        await take_inventory(swap("http://127.0.0.1:1"), RING)


@pytest.mark.parametrize(
    ("response", "cls"),
    [
        (httpx.Response(404, text="404 page not found"), NotFoundError),
        (httpx.Response(200, html="<p>Sign in"), ProtocolError),
        (httpx.Response(200, json={"jogging": []}), ProtocolError),
    ],
)
async def test_the_inventory_of_what_is_no_llama_swap(response: httpx.Response, cls: type[Exception]) -> None:
    router = respx.MockRouter(assert_all_called=False)
    router.get(f"{SWAP_URL}/running").mock(return_value=response)

    with pytest.raises(cls):
        await take_inventory(swap(), RING, mounted(router))


async def test_the_inventory_of_an_older_llama_swap() -> None:
    router = respx.MockRouter()
    router.get(f"{SWAP_URL}/running").respond(json={"running": []})
    router.get(f"{SWAP_URL}/v1/models").respond(json={"data": [{"id": "phi4"}]})
    router.get(f"{SWAP_URL}/api/version").respond(404)

    inventory = await take_inventory(swap(), RING, mounted(router))

    assert inventory.version is None
    assert inventory.models == (ListedModel("phi4", "model", "cold"),)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (openai(), "https://api.openai.com/v1/models"),
        (anthropic(), "https://api.anthropic.com/v1/models"),
    ],
    ids=["openai", "anthropic"],
)
async def test_the_inventory_of_other_servers(endpoint: Endpoint, url: str) -> None:
    router = respx.MockRouter()
    router.get(url).respond(json={"data": [{"id": "one"}, {"id": "two"}]})

    inventory = await take_inventory(endpoint, keys(), mounted(router))

    assert inventory.models == (ListedModel("one", "model", None), ListedModel("two", "model", None))


async def test_an_inventory_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperguild.adapters.probes.inventory.INVENTORY_LIMIT_S", 0.1)
    router = respx.MockRouter()
    router.get(f"{SWAP_URL}/running").mock(side_effect=held_back(asyncio.Event(), {}))

    with pytest.raises(ModelTimeoutError):
        await take_inventory(swap(), RING, mounted(router))
