"""The engine: starts models when they are asked for, and unloads them when others need their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Literal

from hyperguild.adapters.embedded.host import Lease, Served
from hyperguild.adapters.embedded.process import ServerProcess
from hyperguild.adapters.embedded.residency import Grant, Phase, Residence, Start, Stop, Waiter, next_move
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import EngineSettings
from hyperguild.domain.records import WarmState
from hyperguild.errors import ConnectError

FATE_KNOWN_WITHIN_S = 1.0
"""How long a broken connection waits for the news that its server has died."""

Reason = Literal["asked", "evicted", "idle", "crashed", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A model's state changed; `reason` says why it is on its way in or out, `detail` what went wrong.

    `leaving`: it is cold for whoever asks, but has its place until another such change says that it is gone.
    """

    spec: ServerSpec
    state: WarmState
    reason: Reason
    detail: str = ""
    leaving: bool = False


def ignore_change(change: Change) -> None:
    """Take a change and do nothing with it."""
    del change


@dataclass(slots=True, eq=False)
class _Resident:
    """A model that has a place, from the order to start it until its process is gone."""

    spec: ServerSpec
    used_at: float
    phase: Phase = "starting"
    users: int = 0
    batch_end: int = 0
    leaving: Reason = "closed"
    served: Served | None = None
    touched: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Future[str | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def seen(self) -> Residence:
        return Residence(self.phase, self.users, self.used_at, self.batch_end)

    @property
    def warm_state(self) -> WarmState:
        return "cold" if self.phase == "stopping" else self.phase


class Engine:
    """The models of one `embedded` endpoint: a `ModelHost` in this process.

    Belongs to one event loop; close it with `aclose`. Model servers end with this process, however it ends.
    At most `max_users` requests are served at once. `port` is that of every server; 0: any free one.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        max_users: int = 8,
        port: int = 0,
        observe: Callable[[Change], None] = ignore_change,
    ) -> None:
        self._settings = settings
        self._max_users = max_users
        self._port = port
        self._observe = observe
        self._residents: dict[ServerSpec, _Resident] = {}
        self._waiters: dict[int, tuple[ServerSpec, asyncio.Future[_Resident]]] = {}
        self._tickets = 0
        self._closed = False
        self._lives: set[asyncio.Task[None]] = set()

    @property
    def ttl_s(self) -> float:
        """How long a model stays loaded without use."""
        return self._settings.ttl_s

    def adopt(self, settings: EngineSettings, *, max_users: int) -> None:
        """Take other settings for those that it was made with.

        They hold for what is loaded, too. Where fewer models may be loaded than are, the next lease makes the
        others leave, not this: it should come at once.
        """
        self._settings, self._max_users = settings, max_users
        for resident in self._residents.values():
            resident.touched.set()  # it may be due to leave sooner, or later

    @asynccontextmanager
    async def lease(self, spec: ServerSpec) -> AsyncGenerator[Lease, None]:
        """See `ModelHost.lease`."""
        resident = await self._granted(spec)
        try:
            assert resident.served is not None  # noqa: S101 - granted means ready
            yield Lease(resident.served, lambda: _fate(resident))
        finally:
            resident.users -= 1
            self._touch(resident)
            self._proceed()

    async def state(self, spec: ServerSpec) -> WarmState:
        """See `ModelHost.state`."""
        resident = self._residents.get(spec)
        return "cold" if resident is None else resident.warm_state

    def residents(self) -> dict[ServerSpec, Residence]:
        """Return the models that have a place now."""
        return {spec: resident.seen() for spec, resident in self._residents.items()}

    async def aclose(self) -> None:
        """Stop every model; who waits, or comes later, gets a `ConnectError`. Safe to call twice."""
        self._closed = True
        self._refuse_all(_closed())
        for life in self._lives:
            life.cancel()
        if self._lives:
            await asyncio.wait(self._lives)

    async def _granted(self, spec: ServerSpec) -> _Resident:
        """Wait for a turn; leaving before takes the request out of the queue, the model goes on loading."""
        if self._closed:
            raise _closed()
        granted: asyncio.Future[_Resident] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        ticket = self._tickets
        self._waiters[ticket] = spec, granted
        self._proceed()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                granted.result().users -= 1  # it was granted in the very moment of the cancellation
                self._touch(granted.result())
            raise
        finally:
            self._waiters.pop(ticket, None)
            self._proceed()

    def _proceed(self) -> None:
        """Do whatever can be done now."""
        while True:
            residents = self.residents()
            waiters = [Waiter(ticket, spec) for ticket, (spec, _) in self._waiters.items()]
            move = next_move(
                residents, waiters, max_loaded=self._settings.max_loaded, max_users=self._max_users
            )
            match move:
                case None:
                    return
                case Grant(ticket):
                    spec, granted = self._waiters.pop(ticket)
                    if not granted.done():
                        resident = self._residents[spec]
                        resident.users += 1
                        self._touch(resident)
                        granted.set_result(resident)
                case Start(spec):
                    self._start(spec)
                case Stop(spec):
                    self._send_away(self._residents[spec], "evicted")

    def _start(self, spec: ServerSpec) -> None:
        resident = self._residents[spec] = _Resident(spec, asyncio.get_running_loop().time())
        self._observe(Change(spec, "starting", "asked"))
        life = asyncio.create_task(self._live(resident), name=f"model server of {spec.name}")
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)

    def _send_away(self, resident: _Resident, reason: Reason) -> None:
        resident.phase, resident.leaving = "stopping", reason
        resident.touched.set()
        self._observe(Change(resident.spec, "cold", reason, leaving=True))

    def _touch(self, resident: _Resident) -> None:
        """Note a use: the time without use begins anew."""
        resident.used_at = asyncio.get_running_loop().time()
        resident.touched.set()

    async def _live(self, resident: _Resident) -> None:
        """Lead a model's whole life: start, service, end."""
        detail = ""
        try:
            server = await self._started(resident)
            if server is None:
                return
            try:
                detail = await self._serve(resident, server) or ""
            finally:
                resident.phase = "stopping"
                await server.stop()
        finally:
            if not resident.gone.done():
                resident.gone.set_result(detail or None)
            del self._residents[resident.spec]
            self._observe(Change(resident.spec, "cold", resident.leaving, detail))
            self._proceed()

    async def _started(self, resident: _Resident) -> ServerProcess | None:
        """Return the server, None where it did not start, or nobody waits for it any more."""
        starting = asyncio.create_task(ServerProcess.start(resident.spec, port=self._port))
        leaving = asyncio.create_task(_left(resident))
        try:
            await asyncio.wait({starting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return None
            server = starting.result()
        except asyncio.CancelledError:
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                await starting.result().stop()  # it came up in the very moment of the cancellation
            raise
        except Exception as error:  # noqa: BLE001  # the end of a task: who waits has to hear of everything
            resident.leaving = "failed"
            self._refuse_all(error, resident.spec)
            return None
        finally:
            starting.cancel()
            leaving.cancel()
            await asyncio.wait({starting, leaving})
        if resident.phase == "starting":
            resident.phase = "ready"
            resident.served = Served(server.url, server.key)
            resident.batch_end = self._tickets + 1
            self._touch(resident)
            self._observe(Change(resident.spec, "ready", "asked"))
            self._proceed()
        return server

    def _refuse_all(self, error: Exception, spec: ServerSpec | None = None) -> None:
        """Raise a copy of the error for everybody who waits: for the model, or for any."""
        for ticket, (wanted, granted) in list(self._waiters.items()):
            if spec in {None, wanted}:
                del self._waiters[ticket]
                if not granted.done():
                    granted.set_exception(copy(error))

    async def _serve(self, resident: _Resident, server: ServerProcess) -> str | None:
        """Wait until the model must leave; return how its process ended, if it did so by itself."""
        ending = asyncio.create_task(server.ended())
        try:
            while resident.phase == "ready":
                resident.touched.clear()
                idle_until = None if resident.users else resident.used_at + self._settings.ttl_s
                if idle_until is not None and idle_until <= asyncio.get_running_loop().time():
                    self._send_away(resident, "idle")
                    break
                touching = asyncio.create_task(_touched(resident, idle_until))
                try:
                    await asyncio.wait({ending, touching}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    touching.cancel()
                if ending.done():
                    resident.leaving = "crashed"
                    return ending.result()
            return None
        finally:
            ending.cancel()


def _closed() -> ConnectError:
    return ConnectError("the embedded engine is closed", retryable=False)


async def _left(resident: _Resident) -> None:
    while resident.phase != "stopping":
        resident.touched.clear()
        await resident.touched.wait()


async def _touched(resident: _Resident, until: float | None) -> None:
    try:
        async with asyncio.timeout_at(until):
            await resident.touched.wait()
    except TimeoutError:
        pass  # that is what the time was given for


async def _fate(resident: _Resident) -> str | None:
    """Return how the model's process ended, if it has; where it lives, None after a moment."""
    try:
        async with asyncio.timeout(FATE_KNOWN_WITHIN_S):
            return await asyncio.shield(resident.gone)
    except TimeoutError:
        return None
