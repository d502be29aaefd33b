"""The warm probe of embedded models: asks their host, and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping

from hyperguild.adapters.embedded.host import ModelHost
from hyperguild.adapters.embedded.spec import spec_of
from hyperguild.domain.chain import Model
from hyperguild.domain.records import WarmState
from hyperguild.ports import Clock

POLL_S = 0.02
"""How often a host is asked while a model loads: microseconds for our own engine, 0.4 ms for the keeper."""


class EmbeddedProbe:
    """A `WarmProbe` over the hosts of `embedded` endpoints, by the endpoints' names."""

    def __init__(self, hosts: Mapping[str, ModelHost], clock: Clock) -> None:
        self._hosts = hosts
        self._clock = clock

    async def state(self, model: Model) -> WarmState:
        """See `WarmProbe.state`."""
        return await self._hosts[model.endpoint.name].state(spec_of(model))

    async def wait_ready(self, model: Model) -> None:
        """See `WarmProbe.wait_ready`."""
        while await self.state(model) != "ready":
            await self._clock.sleep(POLL_S)
