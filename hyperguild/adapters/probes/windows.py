"""How many tokens a request of a model may have, as the server of the model itself says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hyperguild.adapters.probes.asking import get_json
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, api_root, plain_transport
from hyperguild.domain.chain import Endpoint, EndpointKind, Model
from hyperguild.errors import ModelError
from hyperguild.ports import Clock

KEPT_S = 60.0
"""An answer counts for so long: a server may have been started anew with another window."""

ServerOf = Callable[[Model], Awaitable[Endpoint | None]]
"""Says where the server of a model is asked, as an endpoint of kind `openai`; None where that might load it,
or where there is none. Raises `ModelError`, `TimeoutError`."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer, and until when it counts."""

    tokens: int | None
    until: float


class ServerWindows:
    """A `WindowSource` that asks llama.cpp's servers: `/v1/models`, of older ones `/props`.

    Both give the window of one slot, after a division among `--parallel` ones and cut to what the model was
    trained with. `servers` says for each kind of endpoint where a model is asked; kinds without one are not.
    """

    def __init__(
        self,
        keys: KeyRing,
        clock: Clock,
        servers: Mapping[EndpointKind, ServerOf],
        transport_factory: TransportFactory = plain_transport,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._servers = servers
        self._transport_factory = transport_factory
        self._known: dict[str, _Known] = {}

    async def window(self, model: Model) -> int | None:
        """See `WindowSource.window`."""
        known = self._known.get(model.name)
        if known is None or known.until <= self._clock.monotonic():
            tokens = await self._ask(model)
            known = self._known[model.name] = _Known(tokens, self._clock.monotonic() + KEPT_S)
        return known.tokens

    def known(self, model: Model) -> int | None:
        """See `WindowSource.known`."""
        known = self._known.get(model.name)
        return None if known is None else known.tokens

    def forget(self, model: Model) -> None:
        """See `WindowSource.forget`."""
        self._known.pop(model.name, None)

    async def _ask(self, model: Model) -> int | None:
        server_of = self._servers.get(model.endpoint.kind)
        if server_of is None:
            return None
        left_s = model.endpoint.probe_timeout_ms / 1000
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(left_s):
                server = await server_of(model)
            if server is None:
                return None
            left_s -= self._clock.monotonic() - began
            return await self._figure(server, model.upstream, left_s)
        except (TimeoutError, ModelError):
            return None

    async def _figure(self, server: Endpoint, upstream: str, limit_s: float) -> int | None:
        """Ask the server. Raises `ModelError`, `TimeoutError`."""
        exchanger = Exchanger(server, self._keys, self._transport_factory)
        root = api_root(server)
        try:
            exchanger.open()  # our own start-up is no time of the server's
            async with asyncio.timeout(limit_s):
                row, alone = _row(await get_json(exchanger, f"{root}/models"), upstream)
                figure = _tokens(row.get("meta"), "n_ctx")
                if figure is None and alone:  # one of several might be loaded by a question about it
                    props = await get_json(exchanger, f"{root.removesuffix('/v1')}/props")
                    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
                    figure = _tokens(settings, "n_ctx")
                return figure
        finally:
            await exchanger.aclose()


async def local_server(model: Model) -> Endpoint | None:
    """Return the endpoint itself where it is a local one: clouds have no such figure, and are not asked."""
    return model.endpoint if model.label == "local" else None


def _row(document: object, name: str) -> tuple[Mapping[str, object], bool]:
    """Return the model's row of a listing, and whether it is the only one: then its name does not count."""
    listed = document.get("data") if isinstance(document, dict) else None
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    if len(rows) == 1:
        return rows[0], True
    return next((row for row in rows if row.get("id") == name), {}), False


def _tokens(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
