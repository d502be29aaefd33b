"""Who holds model servers: this process (`Engine`), or the keeper in a process of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.records import WarmState


@dataclass(frozen=True, slots=True)
class Served:
    """A model server that is up: its address, without path or slash at the end, and the key it wants.

    Each start of a server has a key of its own, so that no two are equal.
    """

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send one request to a model server; while it lasts, the model stays loaded.

    `fate` returns how the server's process ended, in words, where it did so without being told to; None
    where it is alive, after a moment.
    """

    served: Served
    fate: Callable[[], Awaitable[str | None]]


class ModelHost(Protocol):
    """Loads models on demand."""

    def lease(self, spec: ServerSpec) -> AbstractAsyncContextManager[Lease]:
        """Wait until the model is loaded and it is our turn; hold it loaded while in the context.

        Waits without a limit in time. Raises `ModelError` (without model and endpoint) where the model cannot
        be loaded. Cancelling gives the turn up; a load under way goes on.
        """
        ...

    async def state(self, spec: ServerSpec) -> WarmState:
        """Return whether the model is loaded; `unknown` where the host does not answer. Never raises."""
        ...

    async def aclose(self) -> None:
        """Let go of everything that belongs to this process. Safe to call twice."""
        ...
