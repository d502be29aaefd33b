"""What a keeper and its clients say to each other: JSON objects, one a line, told apart by `type`.

The keeper speaks first (`Hello`). Then each request gets one answer, in order; `Refused` may be the answer to
any. A connection holds at most one lease, until it is closed by either side: so a killed client lets go.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, with_config

from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import Endpoint
from hyperguild.domain.records import WarmState
from hyperguild.errors import ErrorKind, ModelError, ProtocolError

MAX_LINE_BYTES = 65_536
"""The longest line has two paths in it, of 4096 bytes each, every one of them escaped."""

OTHER_KEEPS = 3
"""Exit code of a keeper's program that found the folder kept: that other one may be about to end, though."""

BEGINS = "begins"
"""Last word of a keeper's first line in its log, which has the lines of those before it, too."""

STRICT = ConfigDict(extra="forbid")


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class EngineTerms:
    """Which of the keeper's engines is meant, and the settings that it takes with a lease.

    Endpoints of one name share an engine, whatever project they are of: all their models together are no more
    than `max_loaded`. See `EngineSettings` for it and `ttl_s`; at most `max_users` requests are served at
    once.
    """

    endpoint: str
    max_loaded: Annotated[int, Field(ge=1)]
    ttl_s: Annotated[float, Field(ge=0)]
    max_users: Annotated[int, Field(ge=1)]


def terms_of(endpoint: Endpoint) -> EngineTerms:
    """Return the engine for the models of an `embedded` endpoint, with its settings."""
    engine = endpoint.engine
    return EngineTerms(endpoint.name, engine.max_loaded, engine.ttl_s, endpoint.max_concurrency)


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """Answered by `Granted` when it is our turn and the model is loaded: that may take minutes."""

    engine: EngineTerms
    spec: ServerSpec
    type: Literal["lease"] = "lease"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class FateRequest:
    """How did the leased server end? Answered by `Fate`."""

    type: Literal["fate?"] = "fate?"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class StateRequest:
    """Answered by `State`. Nothing is loaded by it, and the engine keeps its settings."""

    engine: EngineTerms
    spec: ServerSpec
    type: Literal["state?"] = "state?"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Answered by `Status`."""

    type: Literal["status?"] = "status?"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class StopRequest:
    """Unload every model and end. Answered by `Stopped` when they are unloaded."""

    type: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True)
class Hello:
    """Who keeps: the version of its program, which need not be that of the client, and its process."""

    version: str
    pid: int
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Granted:
    """The lease; see `Served`."""

    url: str
    key: str
    type: Literal["granted"] = "granted"


@dataclass(frozen=True, slots=True)
class Refused:
    """A `ModelError`."""

    kind: ErrorKind
    message: str
    hint: str | None = None
    retryable: bool = False
    type: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Fate:
    """See `Lease.fate`."""

    fate: str | None
    type: Literal["fate"] = "fate"


@dataclass(frozen=True, slots=True)
class State:
    """See `ModelHost.state`."""

    state: WarmState
    type: Literal["state"] = "state"


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model that has a place with the keeper: its endpoint's name, and how it is served.

    `users` are the requests that hold it loaded; without any, it leaves when `idle_s` reaches `ttl_s`.
    """

    endpoint: str
    file: Path
    context_tokens: int
    slots: int
    state: WarmState
    users: int
    idle_s: float
    ttl_s: float


@dataclass(frozen=True, slots=True)
class KeeperStatus:
    """A keeper: its process, the version of its program, since when it runs, and what it holds."""

    pid: int
    version: str
    started_at: datetime
    models: tuple[HeldModel, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How the keeper is."""

    status: KeeperStatus
    type: Literal["status"] = "status"


@dataclass(frozen=True, slots=True)
class Stopped:
    """How the keeper was when it was stopped."""

    status: KeeperStatus
    type: Literal["stopped"] = "stopped"


Message = Annotated[
    LeaseRequest
    | FateRequest
    | StateRequest
    | StatusRequest
    | StopRequest
    | Hello
    | Granted
    | Refused
    | Fate
    | State
    | Status
    | Stopped,
    Field(discriminator="type"),
]


def refused(error: ModelError) -> Refused:
    """Return the error as it travels: without model and endpoint, which the client knows."""
    return Refused(error.kind, error.message, error.hint, error.retryable)


def as_error(refused: Refused) -> ModelError:
    """Return the error that it was."""
    kinds = {known.kind: known for known in ModelError.__subclasses__()}
    return kinds[refused.kind](refused.message, hint=refused.hint, retryable=refused.retryable)


class Channel:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, message: Message) -> None:
        """Send a message; where the other side is gone, nothing happens: `receive` tells of that."""
        try:
            self._writer.write(json.dumps(asdict(message), default=str).encode() + b"\n")
            await self._writer.drain()
        except OSError:
            self._writer.close()

    async def receive(self) -> Message | None:
        """Wait for the next message; None where the other side is gone.

        Raises `ProtocolError` for a line that is too long or is none of the messages. Cancelling loses no
        message, unless it had come already.
        """
        try:
            line = await self._reader.readline()
        except ValueError as exc:
            raise ProtocolError("a message to or from the keeper is too long") from exc
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        try:
            return _messages().validate_json(line)
        except ValueError as exc:
            raise ProtocolError("a message to or from the keeper was not understood") from exc

    def close(self) -> None:
        """Hang up; what was sent still arrives. Safe to call twice."""
        self._writer.close()


@cache
def _messages() -> TypeAdapter[Message]:
    return TypeAdapter(Message)
