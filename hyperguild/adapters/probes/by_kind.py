"""One probe over all endpoints: each kind has its own."""

from __future__ import annotations

from collections.abc import Mapping

from hyperguild.domain.chain import EndpointKind, Model
from hyperguild.domain.records import WarmState
from hyperguild.ports import WarmProbe


class ProbeByKind:
    """A `WarmProbe` that asks the one of the model's endpoint kind; kinds without one are `unknown`."""

    def __init__(self, probes: Mapping[EndpointKind, WarmProbe]) -> None:
        self._probes = probes

    async def state(self, model: Model) -> WarmState:
        """See `WarmProbe.state`."""
        probe = self._probes.get(model.endpoint.kind)
        return "unknown" if probe is None else await probe.state(model)

    async def wait_ready(self, model: Model) -> None:
        """See `WarmProbe.wait_ready`."""
        await self._probes[model.endpoint.kind].wait_ready(model)
