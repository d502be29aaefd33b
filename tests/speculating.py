"""What tests of tiers that are begun early ask of a run."""

from __future__ import annotations

from walking import Events

from hyperguild.domain.events import SpeculationSettled
from hyperguild.domain.records import RunResult


def told(result: RunResult) -> list[tuple[str, int, str, str | None]]:
    return [(one.model, one.position, one.verdict, one.cause) for one in result.attempts]


def settled(events: Events) -> SpeculationSettled:
    [event] = [one for one in events.seen if isinstance(one, SpeculationSettled)]
    return event
