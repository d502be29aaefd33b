"""Stamps events of one run and hands them to a sink."""

from __future__ import annotations

import copy
from itertools import count
from typing import Any

from hyperguild.domain.events import Event, Warned
from hyperguild.ports import Clock, EventSink


class Emitter:
    """Numbers the events of one run and gives them its ids and the time.

    `of_attempt` gives the one of an attempt: several may be under way, and all events are of one row.
    """

    def __init__(self, sink: EventSink, clock: Clock, *, session_id: str, run_id: str) -> None:
        self._sink = sink
        self._clock = clock
        self._session_id = session_id
        self._run_id = run_id
        self._numbers = count(1)
        self._warned: set[str] = set()
        self._attempt_id: str | None = None

    def of_attempt(self, attempt_id: str) -> Emitter:
        """Return an emitter for the events of one attempt of the same run."""
        emitter = copy.copy(self)
        emitter._attempt_id = attempt_id  # noqa: SLF001 - one of its kind
        return emitter

    def __call__(self, event_type: type[Any], **fields: Any) -> None:
        """Build an event of `domain.events` and emit it."""
        event: Event = event_type(
            seq=next(self._numbers),
            time=self._clock.now(),
            session_id=self._session_id,
            run_id=self._run_id,
            attempt_id=self._attempt_id,
            **fields,
        )
        self._sink.emit(event)

    def warn(self, message: str) -> None:
        """Emit a warning."""
        self(Warned, message=message)

    def warn_once(self, message: str) -> None:
        """Emit a warning that the run has not given before."""
        if message not in self._warned:
            self._warned.add(message)
            self.warn(message)
