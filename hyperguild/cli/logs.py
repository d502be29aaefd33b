"""Sets up the structured log on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, json_text

if TYPE_CHECKING:
    # structlog is imported only where a log was asked for.
    from hyperguild.adapters.telemetry.log_sink import LogSink


def open_log_sink(settings: Settings) -> LogSink | None:
    """Return the log as an event sink, or None where the view already says all that the log would.

    That is so at the default level in the human format: warnings are part of the view.
    """
    if settings.log_format == "human" and settings.log_level in {"warning", "error"}:
        return None
    import structlog  # noqa: PLC0415  # start-up

    from hyperguild.adapters.telemetry.log_sink import LogSink  # noqa: PLC0415

    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer(serializer=_json)]
        if settings.log_format == "json"
        else [_readable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
    )
    return LogSink(logger)


def _json(fields: object, **_: object) -> str:
    """Return an entry as JSON; what a terminal would act on is escaped."""
    return json_text(fields)


def _readable(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry for a person: names and messages of servers and models do nothing to the terminal."""
    return {
        name: value if isinstance(value, int | float) else flat(str(value)) for name, value in fields.items()
    }
