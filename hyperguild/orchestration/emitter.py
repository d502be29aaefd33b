"""Stamps events of one run and hands them to a sink."""

from __future__ import annotations

from typing import Any

from hyperguild.domain.events import Event
from hyperguild.ports import Clock, EventSink


class Emitter:
    """Numbers the events of one run and gives them its ids and the time.

    `attempt_id` is set by the walk while an attempt is under way.
    """

    def __init__(self, sink: EventSink, clock: Clock, *, session_id: str, run_id: str) -> None:
        self._sink = sink
        self._clock = clock
        self._session_id = session_id
        self._run_id = run_id
        self._seq = 0
        self.attempt_id: str | None = None

    def __call__(self, event_type: type[Any], **fields: Any) -> None:
        """Build an event of `domain.events` and emit it."""
        self._seq += 1
        event: Event = event_type(
            seq=self._seq,
            time=self._clock.now(),
            session_id=self._session_id,
            run_id=self._run_id,
            attempt_id=self.attempt_id,
            **fields,
        )
        self._sink.emit(event)
