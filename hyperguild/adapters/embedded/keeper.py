"""The keeper: a small process that holds models loaded between commands.

`python -P -m hyperguild.adapters.embedded.keeper FOLDER` returns once a keeper listens in that folder; it
goes on in the background. There is one at most: it holds a lock for as long as it lives; whoever finds it
locked exits with `OTHER_KEEPS`. It ends when it was told to, or a moment after its last model has left and
its last client has hung up. However it ends, its model servers end with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hyperguild import __version__
from hyperguild.adapters.embedded.engine import Change, Engine
from hyperguild.adapters.embedded.host import Lease
from hyperguild.adapters.embedded.keeper_wire import (
    BEGINS,
    MAX_LINE_BYTES,
    OTHER_KEEPS,
    Channel,
    EngineTerms,
    Fate,
    FateRequest,
    Granted,
    HeldModel,
    Hello,
    KeeperStatus,
    LeaseRequest,
    State,
    StateRequest,
    Status,
    StatusRequest,
    Stopped,
    StopRequest,
    refused,
)
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import EngineSettings
from hyperguild.domain.records import WarmState
from hyperguild.domain.text import one_line
from hyperguild.errors import ConnectError, ModelError, ProtocolError, ServerError

LINGER_S = 1.0
"""How long a keeper that has nothing to do waits for somebody to come."""

GOODBYE_S = 0.5
"""How long clients may take to read what the keeper has to tell them at its end."""

LOG_MAX_BYTES = 65_536
"""A log that has grown so long begins anew."""

BACKLOG = 128


class Keeper:
    """Engines for whoever connects: one for each endpoint's name. `say` takes lines for the log."""

    def __init__(self, *, started_at: datetime, say: Callable[[str], None]) -> None:
        self._started_at = started_at
        self._say = say
        self._engines: dict[str, Engine] = {}
        self._visits: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()
        self._unloaded = asyncio.Event()
        self._ending = False

    async def serve(self, listener: socket.socket) -> None:
        """Serve until told to end, or idle for `LINGER_S`; then unload all models.

        The socket's file is removed before the models are unloaded.
        """
        path = Path(listener.getsockname())
        server = await asyncio.start_unix_server(self._receive, sock=listener, limit=MAX_LINE_BYTES)
        try:
            await self._until_over()
        finally:
            self._ending = True
            server.close()
            _remove(path)
            async with asyncio.TaskGroup() as group:
                for engine in self._engines.values():
                    group.create_task(engine.aclose())
            self._unloaded.set()
            await self._say_goodbye()

    def stop(self) -> None:
        """Make `serve` come to its end."""
        self._ending = True
        self._stirred.set()

    def status(self) -> KeeperStatus:
        """Return what is held now."""
        now = asyncio.get_running_loop().time()
        models = tuple(
            HeldModel(
                endpoint=endpoint,
                file=spec.gguf,
                context_tokens=spec.context_tokens,
                slots=spec.slots,
                state="cold" if residence.phase == "stopping" else residence.phase,
                users=residence.users,
                idle_s=0.0 if residence.users else round(now - residence.used_at, 3),
                ttl_s=engine.ttl_s,
            )
            for endpoint, engine in self._engines.items()
            for spec, residence in engine.residents().items()
        )
        return KeeperStatus(os.getpid(), __version__, self._started_at, models)

    async def state(self, endpoint: str, spec: ServerSpec) -> WarmState:
        """See `ModelHost.state`."""
        engine = self._engines.get(endpoint)
        return "cold" if engine is None else await engine.state(spec)

    async def hold(self, request: LeaseRequest, channel: Channel, granted: asyncio.Future[Lease]) -> None:
        """Take a lease for a client and hold it until cancelled; `granted` gets it.

        Where it cannot be had, the client is told so.
        """
        try:
            async with self._engine(request.engine).lease(request.spec) as lease:
                granted.set_result(lease)
                await channel.send(Granted(lease.served.url, lease.served.key))
                await asyncio.Event().wait()
        except ModelError as error:
            self._say(f"{request.spec.name}: {error.message}")
            # A client that goes on may start a new keeper; the engine alone cannot know of that.
            told = ConnectError("the keeper was stopped") if self._ending else error
            await channel.send(refused(told))
        except Exception as error:  # noqa: BLE001  # the end of a task: its client has to hear of everything
            self._say(traceback.format_exc())
            message = one_line(f"internal error of the keeper: {type(error).__name__}: {error}", 400)
            await channel.send(refused(ServerError(message, retryable=False)))

    async def stopped(self) -> Stopped:
        """Stop, and wait until every model is unloaded."""
        held = self.status()
        self.stop()
        await self._unloaded.wait()
        return Stopped(held)

    def _engine(self, terms: EngineTerms) -> Engine:
        """Return the endpoint's engine; the newest settings hold."""
        settings = EngineSettings(max_loaded=terms.max_loaded, ttl_s=terms.ttl_s)
        engine = self._engines.get(terms.endpoint)
        if engine is None:
            engine = Engine(settings, max_users=terms.max_users, observe=self._note)
            self._engines[terms.endpoint] = engine
        else:
            engine.adopt(settings, max_users=terms.max_users)
        return engine

    def _note(self, change: Change) -> None:
        if change.reason == "crashed":
            self._say(f"{change.spec.name}: {change.detail}")
        self._stirred.set()

    async def _until_over(self) -> None:
        while not self._ending:
            self._stirred.clear()
            busy = self._visits or any(engine.residents() for engine in self._engines.values())
            try:
                async with asyncio.timeout(None if busy else LINGER_S):
                    await self._stirred.wait()
            except TimeoutError:
                return

    def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection, in a task of ours: asyncio's own complains when it is cancelled."""
        visit = asyncio.create_task(self._attend(Channel(reader, writer)))
        self._visits.add(visit)
        visit.add_done_callback(self._left)
        self._stirred.set()

    def _left(self, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        self._stirred.set()

    async def _attend(self, channel: Channel) -> None:
        """Serve one connection until its end."""
        try:
            if not self._ending:  # who comes too late finds the line dead, and starts a new keeper
                await channel.send(Hello(__version__, os.getpid()))
                await _Visit(self, channel).attend()
        except ProtocolError as error:
            await channel.send(refused(error))
        finally:
            channel.close()

    async def _say_goodbye(self) -> None:
        if self._visits:
            await asyncio.wait(self._visits, timeout=GOODBYE_S)
        for visit in self._visits:
            visit.cancel()
        if self._visits:
            await asyncio.wait(self._visits)


class _Visit:
    """One connection, and the lease that it may hold."""

    def __init__(self, keeper: Keeper, channel: Channel) -> None:
        self._keeper = keeper
        self._channel = channel
        self._granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._holding: asyncio.Task[None] | None = None

    async def attend(self) -> None:
        """Answer until the client hangs up. Raises `ProtocolError` for what cannot be answered."""
        keeper, channel = self._keeper, self._channel
        try:
            while (message := await channel.receive()) is not None:
                match message:
                    case LeaseRequest() if self._holding is None:
                        self._holding = asyncio.create_task(keeper.hold(message, channel, self._granted))
                    case FateRequest() if self._granted.done():
                        await channel.send(Fate(await self._granted.result().fate()))
                    case StateRequest(engine, spec):
                        await channel.send(State(await keeper.state(engine.endpoint, spec)))
                    case StatusRequest():
                        await channel.send(Status(keeper.status()))
                    case StopRequest():
                        await channel.send(await keeper.stopped())
                        return
                    case _:
                        raise ProtocolError("the keeper cannot answer that now")
        finally:
            if self._holding is not None:
                self._holding.cancel()
                await asyncio.wait({self._holding})


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def main() -> None:
    """Become the keeper of the folder. Exits with a message where that cannot be."""
    os.umask(0o077)
    folder = KeeperFolder(Path(sys.argv[1]))
    try:
        folder.make()
        lock = _locked(folder)
        if lock is None:
            sys.exit(OTHER_KEEPS)
        # Whoever started this hears of all that fails until here, and of nothing that fails later.
        log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        listener = _listening(folder)
        child = os.fork()
    except ModelError as error:
        sys.exit(error.message)
    except OSError as exc:
        sys.exit(f"{exc.filename or folder.path}: {exc.strerror or exc}")
    if child:
        os._exit(0)
    with suppress(OSError):  # a full disk: without its id, it is only harder to find
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    _settle(log)
    say(f"process {os.getpid()} {BEGINS}")
    asyncio.run(_keep(listener))


async def _keep(listener: socket.socket) -> None:
    keeper = Keeper(started_at=datetime.now(UTC), say=say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, keeper.stop)
    await keeper.serve(listener)


def _locked(folder: KeeperFolder) -> int | None:
    """Lock the lock file until this process ends; None where a keeper has it."""
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    os.ftruncate(lock, 0)  # whose id stands there is dead
    return lock


def _listening(folder: KeeperFolder) -> socket.socket:
    """Listen in place of the keeper before, which the lock says is dead."""
    folder.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder.socket))
    listener.listen(BACKLOG)
    return listener


def _settle(log: int) -> None:
    """Let go of the folder and the standard streams of who started the keeper; they become the log."""
    if "PYTHONPATH" in os.environ:  # model servers must find the package from another folder as well
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
    os.chdir("/")
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def say(text: str) -> None:
    """Write a line, with the time, to standard error: that is the keeper's log, which stays short."""
    with suppress(OSError):  # a full disk is no reason to end
        if os.fstat(2).st_size > LOG_MAX_BYTES:
            os.ftruncate(2, 0)
        sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
