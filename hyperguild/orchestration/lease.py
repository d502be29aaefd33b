"""The lease of a run: how others know that its process is alive."""

from __future__ import annotations

from datetime import datetime, timedelta

from hyperguild.errors import StoreError
from hyperguild.orchestration.emitter import Emitter
from hyperguild.ports import Clock, SessionStore

LEASE_S = 15.0
"""How long a run counts as alive after its last sign of life: three renewals."""

RENEW_EVERY_S = 5.0
"""How often a run renews its lease (contract, section 4)."""


def lease_end(clock: Clock) -> datetime:
    """Return until when a run counts as alive that has given a sign of life now."""
    return clock.now() + timedelta(seconds=LEASE_S)


async def keep_lease(run_id: str, store: SessionStore, clock: Clock, emit: Emitter) -> None:
    """Renew the lease of a run until this is cancelled; warn where it cannot be renewed."""
    while True:
        await clock.sleep(RENEW_EVERY_S)
        try:
            await store.renew_lease(run_id, lease_end(clock))
        except StoreError as error:
            # A log that is busy for a moment must not cost an answer: the next renewal may succeed.
            emit.warn(f"the run could not be marked as alive: {error.message}")
