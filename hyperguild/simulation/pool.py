"""The swap machine with a clock: requests wait here until their model is loaded."""

import asyncio
import math
from collections.abc import Callable

from hyperguild.simulation.pace import Pace
from hyperguild.simulation.swap import UNLOADED, SwapMachine, Ticket


class LoadFailedError(Exception):
    """The model did not come up, or was unloaded while it was loading; the message is llama-swap's reason."""


class ModelPool:
    """Lets requests wait for their model and tells those that lost it.

    `on_change` is called after every change of a model's state.
    """

    def __init__(self, machine: SwapMachine, pace: Pace, on_change: Callable[[], None]) -> None:
        self.machine = machine
        self._pace = pace
        self._on_change = on_change
        self._seen_version = machine.version
        self._granted: dict[Ticket, asyncio.Future[None]] = {}
        self._kill: dict[Ticket, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def submit(self, model: str) -> Ticket:
        """Ask for a model. Raises ConcurrencyLimitError."""
        ticket = self.machine.submit(model, self._pace.now())
        self._react()
        return ticket

    async def granted(self, ticket: Ticket) -> None:
        """Wait until the model serves this request.

        Raises LoadFailedError. Cancellation leaves the ticket to be released.
        """
        if ticket.phase in ("queued", "loading"):
            waiter = asyncio.get_running_loop().create_future()
            self._granted[ticket] = waiter
            try:
                await waiter
            finally:
                self._granted.pop(ticket, None)
        if ticket.phase == "failed":
            raise LoadFailedError(ticket.reason)

    def on_kill(self, ticket: Ticket, call: Callable[[], None]) -> None:
        """Have `call` called when the model goes away under this request; at once if it is gone already."""
        if ticket.phase == "killed":
            call()
        else:
            self._kill[ticket] = call

    def release(self, ticket: Ticket) -> None:
        """The request is over, in whatever way."""
        self._kill.pop(ticket, None)
        self.machine.release(ticket, self._pace.now())
        self._react()

    def unload(self, model: str) -> None:
        """Stop a model."""
        self.machine.unload(model, self._pace.now())
        self._react()

    def unload_all(self) -> None:
        """Stop every model."""
        self.machine.unload_all(self._pace.now())
        self._react()

    def crash(self, model: str) -> None:
        """Let a model's process die."""
        self.machine.crash(model, self._pace.now())
        self._react()

    async def stopped(self, model: str) -> None:
        """Wait until a model that is being stopped has stopped."""
        while self.machine.state(model) == "stopping":
            await self._pace.sleep_until(self.machine.next_due())
            await asyncio.sleep(0)
            self._wake()

    def close(self) -> None:
        """End every wait: a new script takes this pool's place."""
        self.unload_all()
        for ticket, waiter in self._granted.items():
            if not waiter.done():
                ticket.phase, ticket.reason = "failed", UNLOADED
                waiter.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._timer_at = math.inf
        self.machine.advance(self._pace.now())
        self._react()

    def _react(self) -> None:
        for ticket in self.machine.take_changed():
            waiter = self._granted.get(ticket)
            if waiter is not None and not waiter.done() and ticket.phase != "loading":
                waiter.set_result(None)
            kill = self._kill.pop(ticket, None) if ticket.phase == "killed" else None
            if kill is not None:
                kill()
        if self.machine.version != self._seen_version:
            self._seen_version = self.machine.version
            self._on_change()
        self._arm()

    def _arm(self) -> None:
        due = self.machine.next_due()
        if due == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = None if math.isinf(due) else self._pace.call_at(due, self._wake)
