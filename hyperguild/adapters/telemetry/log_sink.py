"""Writes events to the structured log: their dotted names, their fields, no deltas."""

from __future__ import annotations

from typing import Any

import structlog

from hyperguild.domain.events import Event

LEVELS = {
    "run.started": "info",
    "run.finished": "info",
    "attempt.started": "info",
    "attempt.finished": "info",
    "verdict": "info",
    "warning": "warning",
    "text.delta": None,
    "reasoning.delta": None,
}
"""Level of each event type; None is not logged, an unlisted type is logged at debug."""

CONTENT = {
    *("answer", "output", "feedback", "attempts", "checks"),
    *("text", "arguments", "pending_tool_calls"),
}
"""Fields that hold content rather than facts: they belong to the session log, which keeps as much of it as it
may, and without its secrets."""


class LogSink:
    """Implements `ports.EventSink` over a structlog logger. Never blocks longer than a write to stderr."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self._logger = logger

    def emit(self, event: Event) -> None:
        """Log one event at its level."""
        level = LEVELS.get(event.type, "debug")
        if level is not None:
            getattr(self._logger, level)(event.type, **_facts(event.model_dump(mode="json")))


def _facts(fields: dict[str, Any]) -> dict[str, Any]:
    nested = fields.pop("attempt", None) or fields.pop("result", None) or {}
    check = fields.pop("check", None) or {}
    merged = {**fields, **nested, **{key: value for key, value in check.items() if key != "message"}}
    dropped = {"v", "type", "time", *CONTENT}
    return {key: value for key, value in merged.items() if key not in dropped and value is not None}
