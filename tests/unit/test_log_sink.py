"""What the structured log says of events: facts, never content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from hyperguild.adapters.telemetry.log_sink import LogSink
from hyperguild.domain.events import (
    CheckFinished,
    Event,
    MessageInjected,
    ToolCalled,
    ToolReturned,
    VerdictGiven,
)
from hyperguild.domain.records import CheckResult

AT = datetime(2026, 1, 1, tzinfo=UTC)
HEAD: dict[str, Any] = {"seq": 1, "time": AT, "session_id": "s", "run_id": "r"}


@pytest.mark.parametrize(
    ("event", "fact"),
    [
        (ToolCalled(**HEAD, call_id="c", name="fs_read", arguments={"path": "private"}), "fs_read"),
        (ToolReturned(**HEAD, call_id="c", name="fs_read", is_error=False, text="private", chars=7), 7),
        (MessageInjected(**HEAD, origin="hook", role="user", text="private"), "hook"),
        (VerdictGiven(**HEAD, verdict="escalate", cause="rejected", feedback="private"), "rejected"),
        (CheckFinished(**HEAD, check=CheckResult(kind="regex", passed=False, message="private")), "regex"),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_the_log_has_facts_and_no_content(event: Event, fact: Any) -> None:
    with capture_logs() as written:
        LogSink(structlog.get_logger()).emit(event)
    (line,) = written
    assert fact in line.values()
    assert "private" not in str(line)
