"""The warm probe: asks llama-swap's `/running`, and nothing that would load a model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

from hyperguild.adapters.probes.asking import get_json
from hyperguild.adapters.probes.listing import (
    MisshapenListingError,
    Names,
    names_of,
    read_addresses,
    read_models,
    read_running,
)
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.single_flight import SingleFlight
from hyperguild.adapters.wire.transport import TransportFactory, api_root, plain_transport
from hyperguild.config.hosts import fault_of_url, is_loopback, origin_of
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.records import WarmState
from hyperguild.errors import ModelError
from hyperguild.ports import Clock

NAMES_KEPT_S = 60.0
"""A name that the server did not list is looked up again after so long: it may have a new configuration."""

POLL_FIRST_S = 0.05
POLL_LAST_S = 0.2
"""While a model loads `/running` is asked after 0.05 s, then ever less often: it costs the server 1 ms."""

_POLL_GROWTH = 1.5


class LlamaSwapProbe:
    """A `WarmProbe` over any number of llama-swap servers. Callers that ask at once share one request.

    Close it with `aclose`; it keeps a connection to each server.
    """

    def __init__(
        self, keys: KeyRing, clock: Clock, transport_factory: TransportFactory = plain_transport
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._transport_factory = transport_factory
        self._servers: dict[str, _Server] = {}

    async def state(self, model: Model) -> WarmState:
        """Return whether the model is loaded; `unknown` where that cannot be had within `probe_timeout_ms`.

        Never raises, but for cancellation, which leaves the request to the others that wait for it.
        """
        server = self._server(model.endpoint)
        try:
            server.open()
            async with asyncio.timeout(model.endpoint.probe_timeout_ms / 1000):
                running = await server.running()
                if model.upstream in running:
                    return running[model.upstream]
                names = await server.names(model.upstream, self._clock.monotonic())
                return names.state(model.upstream, running)
        except (TimeoutError, ModelError, MisshapenListingError):
            return "unknown"

    async def wait_ready(self, model: Model) -> None:
        """Ask again and again until the model is ready; see `WarmProbe.wait_ready`."""
        pause_s = POLL_FIRST_S
        while await self.state(model) != "ready":
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * _POLL_GROWTH, POLL_LAST_S)

    async def server_of(self, model: Model) -> Endpoint | None:
        """Return where the model's own server is asked; None where the model is not ready, or not here.

        Asked there, a model that is evicted meanwhile is not loaded again, as it would be if llama-swap
        passed the question on. The address is one of llama-swap's machine, and of use on that alone: both
        must be this one. Raises `ModelError`, `TimeoutError`.
        """
        if not _is_here(model.endpoint.base_url):
            return None
        server = self._server(model.endpoint)
        try:
            addresses = await server.addresses()
            name = model.upstream
            if name not in addresses:
                name = (await server.names(name, self._clock.monotonic())).model_id(name)
        except MisshapenListingError:
            return None
        address = addresses.get(name)
        if not _is_here(address):
            return None
        return replace(model.endpoint, kind="openai", base_url=f"{address}/v1", key=None, headers={})

    async def aclose(self) -> None:
        """Cancel requests under way and close the connections. Safe to call twice."""
        servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            await server.aclose()

    def _server(self, endpoint: Endpoint) -> _Server:
        server = self._servers.get(endpoint.name)
        if server is None:
            server = self._servers[endpoint.name] = _Server(endpoint, self._keys, self._transport_factory)
        return server


class _Server:
    """One llama-swap server: its requests under way, and the names it was last heard to know."""

    def __init__(self, endpoint: Endpoint, keys: KeyRing, transport_factory: TransportFactory) -> None:
        self._exchanger = Exchanger(endpoint, keys, transport_factory)
        self._root = api_root(endpoint)
        self._limit_s = endpoint.probe_timeout_ms / 1000
        self._flights: SingleFlight[Literal["running", "models"], object] = SingleFlight()
        self._names: Names | None = None
        self._names_at = 0.0

    def open(self) -> None:
        """Make the client before a time limit runs: our own start-up must not make a server look slow."""
        self._exchanger.open()

    async def running(self) -> dict[str, WarmState]:
        """Return what `/running` says. Raises `TimeoutError`, `ModelError`, `MisshapenListingError`."""
        return read_running(await self._flights.run("running", lambda: self._get("/running")))

    async def addresses(self) -> dict[str, str]:
        """Return where the ready models' own servers are. Raises as `running` does."""
        return read_addresses(await self._flights.run("running", lambda: self._get("/running")))

    async def names(self, wanted: str, now: float) -> Names:
        """Return the names that the server lists, as remembered where `wanted` is among them or they are new.

        Raises as `running` does, where there are none to remember.
        """
        names = self._names
        if names is not None and (wanted in names.rows or now - self._names_at < NAMES_KEPT_S):
            return names
        try:
            document = await self._flights.run("models", lambda: self._get("/v1/models"))
            self._names, self._names_at = names_of(read_models(document)), now
        except (TimeoutError, ModelError, MisshapenListingError):
            if names is None:
                raise
            return names
        return self._names

    async def aclose(self) -> None:
        await self._flights.aclose()
        await self._exchanger.aclose()

    async def _get(self, path: str) -> object:
        async with asyncio.timeout(self._limit_s):
            return await get_json(self._exchanger, self._root + path)


def _is_here(url: str | None) -> bool:
    return url is not None and fault_of_url(url) is None and is_loopback(origin_of(url)[1])
