"""Who is served next, which model is loaded and which one leaves: pure decisions.

Requests wait in the order of their tickets. A model that becomes ready serves those who waited for it then
(its batch); when others wait for a model that has no place, later requests stay behind them. So models that
take turns in one place are swapped once per batch, not once per request, and everybody's turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from hyperguild.adapters.embedded.spec import ServerSpec

Phase = Literal["starting", "ready", "stopping"]


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that waits for a model; a lower ticket came earlier."""

    ticket: int
    spec: ServerSpec


@dataclass(frozen=True, slots=True)
class Residence:
    """A model that has a place. `batch_end`: those with lower tickets waited when it became ready.

    `used_at` orders by last use, in seconds of any clock.
    """

    phase: Phase
    users: int
    used_at: float
    batch_end: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """Serve this waiter now; its model is ready."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Start:
    """Load the model: there is a place for it."""

    spec: ServerSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """Unload the model: another one needs its place."""

    spec: ServerSpec


Move = Grant | Start | Stop


def next_move(
    residents: Mapping[ServerSpec, Residence],
    waiters: Sequence[Waiter],
    *,
    max_loaded: int,
    max_users: int,
) -> Move | None:
    """Return the next thing to do, None where nothing can be done now.

    `waiters` are in the order of their tickets. At most `max_loaded` models have a place (one that is being
    stopped still has its), and at most `max_users` requests are served at once. Where more have one, because
    fewer may now than before, the idle ones leave.
    """
    homeless = [waiter for waiter in waiters if waiter.spec not in residents]
    due = [waiter for waiter in waiters if _is_due(waiter, residents.get(waiter.spec), homeless)]
    if sum(one.users for one in residents.values()) < max_users:
        for waiter in due:
            if residents[waiter.spec].users < waiter.spec.slots:
                return Grant(waiter.ticket)
    if homeless and len(residents) < max_loaded:
        return Start(homeless[0].spec)
    places_coming = sum(one.phase == "stopping" for one in residents.values())
    if places_coming >= len(residents) - max_loaded + len({waiter.spec for waiter in homeless}):
        return None
    return _eviction(residents, waiters, {waiter.spec for waiter in due})


def _is_due(waiter: Waiter, residence: Residence | None, homeless: Sequence[Waiter]) -> bool:
    """Return whether the waiter's model is ready, and nobody without a place comes before it."""
    if residence is None or residence.phase != "ready":
        return False
    return not homeless or waiter.ticket < max(residence.batch_end, homeless[0].ticket)


def _eviction(
    residents: Mapping[ServerSpec, Residence], waiters: Sequence[Waiter], due: Set[ServerSpec]
) -> Stop | None:
    """Take the place of the least recently used model that nobody is served by, or is about to be.

    One that others wait for goes only if all the idle ones are such: they came later than who needs the
    place. A load that nobody waits for any more is given up.
    """
    awaited = {waiter.spec for waiter in waiters}
    idle = [
        (spec in awaited, one.used_at, spec)
        for spec, one in residents.items()
        if (one.phase == "ready" and one.users == 0 and spec not in due)
        or (one.phase == "starting" and spec not in awaited)
    ]
    if not idle:
        return None
    return Stop(min(idle, key=lambda entry: entry[:2])[2])
