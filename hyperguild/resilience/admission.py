"""Whose turn it is at an endpoint: a bounded queue, first come first served. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One request's place. `limit`: how many of its model may hold a turn at once; None: no limit."""

    model: str
    limit: int | None = None


class Admission:
    """At most `limit` tickets hold a turn, and so many of one model as its tickets say; others wait in line.

    A turn goes to the one that has waited longest of those whose model has room, so that a model that is
    full keeps nobody else back. At most `max_queue` wait.
    """

    def __init__(self, limit: int, max_queue: int) -> None:
        self.limit = limit
        self.max_queue = max_queue
        self._waiting: dict[Ticket, None] = {}  # in order
        self._holding: set[Ticket] = set()
        self._of_model: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    @property
    def holding(self) -> int:
        """How many hold a turn."""
        return len(self._holding)

    def holds(self, ticket: Ticket) -> bool:
        """Tell whether the ticket holds a turn."""
        return ticket in self._holding

    def join(self, ticket: Ticket) -> bool:
        """Take a place for a new ticket, a turn if there is one; return False where the line is full."""
        if self._has_room(ticket):  # then nobody waits for this room
            self._admit(ticket)
            return True
        if len(self._waiting) >= self.max_queue:
            return False
        self._waiting[ticket] = None
        return True

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """Give up a turn, or a place in line; return those that hold a turn by it, in order."""
        if ticket not in self._holding:
            self._waiting.pop(ticket, None)
            return []
        self._holding.discard(ticket)
        self._of_model[ticket.model] -= 1
        admitted = []
        for waiting in list(self._waiting):
            if len(self._holding) >= self.limit:
                break
            if self._has_room(waiting):
                del self._waiting[waiting]
                self._admit(waiting)
                admitted.append(waiting)
        return admitted

    def _has_room(self, ticket: Ticket) -> bool:
        own = ticket.limit is None or self._of_model[ticket.model] < ticket.limit
        return own and len(self._holding) < self.limit

    def _admit(self, ticket: Ticket) -> None:
        self._holding.add(ticket)
        self._of_model[ticket.model] += 1
