"""What a walk looks like while it runs: events in, one row an attempt out. Knows nothing of terminals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hyperguild.cli.delegated import DelegatedRuns, call_in_words
from hyperguild.domain.events import (
    AnswerDelta,
    AttemptFinished,
    AttemptStarted,
    CheckFinished,
    ContextCompacted,
    Event,
    LoadWaiting,
    Probed,
    StepFinished,
    StepReset,
    ThoughtDelta,
    ToolCalled,
    ToolReturned,
    VerdictGiven,
)
from hyperguild.domain.records import Attempt, RunResult
from hyperguild.domain.telling import dollars, seconds
from hyperguild.domain.text import one_line
from hyperguild.skills.tool_names import DELEGATE

CALL_CHARS = 60
"""Of a call in the live view."""


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt as it is shown. `attempt` is set once it is over; `doing` says what goes on until then."""

    model: str
    tier: str
    doing: str = ""
    attempt: Attempt | None = None
    chars: int = 0
    attempt_id: str | None = None


@dataclass(slots=True)
class Progress:
    """The rows of a walk, oldest first; what is delegated is told in the row of the attempt that did it."""

    rows: list[Row] = field(default_factory=list)
    _delegated: DelegatedRuns = field(default_factory=DelegatedRuns)

    def apply(self, event: Event) -> bool:
        """Take one event; return whether it is one of the run itself, not of one that it delegated."""
        own = not self._delegated.take(event)
        if own:
            self._apply(event)
        elif self.rows and self.rows[-1].attempt is None:
            self.rows[-1] = replace(self.rows[-1], doing=self._delegated.progress())
        return own

    def _apply(self, event: Event) -> None:
        if isinstance(event, AttemptStarted):
            self.rows.append(Row(event.model, event.tier, "asked", attempt_id=event.attempt_id))
            return
        place = self._place(event.attempt_id)
        if place is None:
            return
        if isinstance(event, AttemptFinished):
            attempt = event.attempt
            self.rows[place] = Row(attempt.model, attempt.tier, attempt=attempt, attempt_id=event.attempt_id)
        elif self.rows[place].attempt is None:
            self.rows[place] = _moved(self.rows[place], event)

    def _place(self, attempt_id: str | None) -> int | None:
        """Return where the attempt's row is: several may be under way."""
        ids = [row.attempt_id for row in self.rows]
        return ids.index(attempt_id) if attempt_id in ids else None


def _moved(row: Row, event: Event) -> Row:
    match event:
        case Probed(warm_state=warm_state):
            return replace(row, doing=f"asked ({warm_state})")
        case LoadWaiting(role="judge", loaded=False):
            return replace(row, doing=f"judge {event.model} is loading, {seconds(event.waited_ms)}")
        case LoadWaiting(role="worker", loaded=False):
            return replace(row, doing=f"loading, {seconds(event.waited_ms)}")
        case LoadWaiting(role="judge"):
            return replace(row, doing=f"being judged by {event.model}")
        case LoadWaiting():
            return replace(row, doing=f"loaded in {seconds(event.waited_ms)}")
        case AnswerDelta(text=text):
            chars = row.chars + len(text)
            return replace(row, chars=chars, doing=f"answering, {chars} characters")
        case ThoughtDelta():
            return replace(row, doing="reasoning")
        case StepReset(reason=reason):
            return replace(row, chars=0, doing=f"trying again: {reason}")
        case StepFinished() | CheckFinished():
            return replace(row, doing="being verified")
        case VerdictGiven():
            return replace(row, doing="being recorded")
    return _at_work(row, event)


def _at_work(row: Row, event: Event) -> Row:
    match event:
        case ToolCalled():
            return replace(row, chars=0, doing=call_line(event.name, event.arguments))
        case ToolReturned(is_error=True):
            return replace(row, doing=f"{event.name} failed")
        case ContextCompacted(failure=""):
            return replace(row, doing="older messages were summarised")
    return row


def call_line(name: str, arguments: Mapping[str, Any] | None) -> str:
    """Return a call in a few words: the tool and what it is called with."""
    if name == DELEGATE:
        return one_line(call_in_words(arguments), CALL_CHARS)
    return f"{name} {call_text(arguments)}".rstrip()


def call_text(arguments: Mapping[str, Any] | None) -> str:
    """Return what a tool is called with, in a few words: its path, command or pattern, else everything."""
    given = arguments or {}
    for name in ("command", "path", "pattern"):
        if isinstance(given.get(name), str):
            return one_line(str(given[name]), CALL_CHARS)
    return one_line(json.dumps(given, ensure_ascii=False), CALL_CHARS) if given else ""


def times(attempt: Attempt) -> str:
    """Return where an attempt's time went: `load 2.0 s · first token 180 ms · judge 310 ms · 3.1 s`."""
    parts = [
        ("load", attempt.load_ms),
        ("first token", attempt.first_token_ms),
        ("verify", attempt.verify_ms),
    ]
    named = [f"{name} {seconds(ms)}" for name, ms in parts if ms is not None]
    return " · ".join([*named, seconds(attempt.duration_ms)]) if attempt.verdict != "skip" else ""


def summary(result: RunResult) -> str:
    """Return the run in one line."""
    tried = sum(1 for attempt in result.attempts if attempt.verdict != "skip")
    tries = f"{tried} attempt{'' if tried == 1 else 's'}"
    status = result.status.replace("_", " ")
    who = f"{status}: {result.model} ({result.tier})" if result.model else status
    spent = f"{seconds(result.duration_ms)} · {dollars(result.cost_usd)}"
    return f"{who} · {tries} · {spent} · run {result.run_id[-8:]}"
