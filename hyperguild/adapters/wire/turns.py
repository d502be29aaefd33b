"""Turns at one endpoint: requests beyond its `max_concurrency` wait here, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hyperguild.domain.chain import Endpoint, Model
from hyperguild.errors import QueueFullError
from hyperguild.resilience.admission import Admission, Ticket


class Turns:
    """Hands out the turns of one endpoint within one event loop; `resilience.admission` says whose it is."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._admission = Admission(endpoint.max_concurrency, endpoint.max_queue)
        self._woken: dict[Ticket, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, model: Model) -> AsyncIterator[None]:
        """Wait for a turn; hold it while in the context. A waiter that is cancelled gives its place up.

        Raises `QueueFullError`, at once, where `max_queue` others wait already.
        """
        ticket = Ticket(model.upstream, model.max_concurrency)
        if not self._admission.join(ticket):
            raise self._full(model)
        try:
            if not self._admission.holds(ticket):
                self._woken[ticket] = asyncio.get_running_loop().create_future()
                await self._woken[ticket]
            yield
        finally:
            # Also one that was woken and cancelled at the same moment: its turn goes to the next.
            self._woken.pop(ticket, None)
            for admitted in self._admission.leave(ticket):
                waiter = self._woken[admitted]
                if not waiter.done():
                    waiter.set_result(None)

    def _full(self, model: Model) -> QueueFullError:
        endpoint = self._endpoint
        return QueueFullError(
            f"the line before endpoint '{endpoint.name}' is full: as many as max_queue allows "
            f"({endpoint.max_queue}) wait already",
            hint="ask for less at once, or raise its max_queue or max_concurrency",
            retryable=False,
            model=model.name,
            endpoint=endpoint.name,
        )
