"""What `sessions list` prints: sessions, runs or attempts, one a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from hyperguild.cli.page import Part
from hyperguild.cli.session_page import LABEL_STYLES, STATUS_STYLES
from hyperguild.cli.table import Table
from hyperguild.cli.view import COLOURS, MARKS
from hyperguild.domain.outcomes import CAUSES
from hyperguild.domain.records import SessionSummary
from hyperguild.domain.review import AttemptRow, RunRow
from hyperguild.domain.telling import ago, dollars, seconds
from hyperguild.domain.text import one_line

SUFFIX = 8
"""Characters of an id that are shown: its random end, which finds it again."""

SKILL_CHARS = 24
TEXT_CHARS = 200
MODEL_CHARS = 24


def table_of(items: Sequence[SessionSummary | RunRow | AttemptRow], now: datetime) -> Table:
    """Return what was found as a table; all of it is of one kind."""
    sessions = [item for item in items if isinstance(item, SessionSummary)]
    if sessions:
        return _sessions_table(sessions, now)
    runs = [item for item in items if isinstance(item, RunRow)]
    if runs:
        return _runs_table(runs, now)
    return _attempts_table([item for item in items if isinstance(item, AttemptRow)], now)


def verdict_in_words(attempt: AttemptRow) -> str:
    """Return what became of an attempt, shortly: `✓ accepted 0.92`, `✗ refused by the judge 0.35`."""
    words = {"accept": "accepted", "error": f"error: {attempt.cause}", "skip": f"skipped: {attempt.cause}"}
    cause = CAUSES.get(str(attempt.cause), str(attempt.cause)).partition(":")[0]
    score = "" if attempt.score is None else f" {attempt.score:.2f}"
    return f"{MARKS[attempt.verdict]} {words.get(attempt.verdict, cause)}{score}"


def _sessions_table(sessions: Sequence[SessionSummary], now: datetime) -> Table:
    """Return sessions as a table."""
    header = ("session", "when", "status", "cost", "skill", "task")
    return Table(header, [_session(session, now) for session in sessions], briefly=(0, 1, 2))


def _runs_table(runs: Sequence[RunRow], now: datetime) -> Table:
    """Return runs as a table."""
    header = ("run", "when", "status", "model", "tries", "took", "cost", "skill", "task")
    return Table(header, [_run(run, now) for run in runs], briefly=(0, 1, 2, 3))


def _attempts_table(attempts: Sequence[AttemptRow], now: datetime) -> Table:
    """Return attempts as a table."""
    header = ("attempt", "when", "model", "verdict", "label", "took", "cost", "skill", "answer")
    return Table(header, [_attempt(attempt, now) for attempt in attempts], briefly=(0, 1, 2, 3, 4))


def _session(session: SessionSummary, now: datetime) -> list[Part]:
    newest = session.statuses[-1] if session.statuses else None
    return [
        (session.session_id[-SUFFIX:], "bold"),
        (ago(session.created_at, now), ""),
        (_statuses(session), STATUS_STYLES[newest] if newest else ""),
        (_cost(session.cost_usd), ""),
        (one_line(", ".join(session.skills), SKILL_CHARS), ""),
        (one_line(session.title or "–", TEXT_CHARS), ""),
    ]


def _run(run: RunRow, now: datetime) -> list[Part]:
    return [
        (run.run_id[-SUFFIX:], "bold"),
        (ago(run.created_at, now), ""),
        (run.status.replace("_", " "), STATUS_STYLES[run.status]),
        (one_line(run.model or "–", MODEL_CHARS), ""),
        (str(run.attempts), ""),
        (seconds(run.duration_ms), ""),
        (_cost(run.cost_usd), ""),
        (one_line(run.skill, SKILL_CHARS), ""),
        (one_line(run.excerpt or "–", TEXT_CHARS), ""),
    ]


def _attempt(attempt: AttemptRow, now: datetime) -> list[Part]:
    return [
        (attempt.attempt_id[-SUFFIX:], "bold"),
        (ago(attempt.started_at, now) if attempt.started_at else "–", ""),
        (one_line(attempt.model, MODEL_CHARS), ""),
        (verdict_in_words(attempt), COLOURS[attempt.verdict]),
        (attempt.label or "", LABEL_STYLES[attempt.label] if attempt.label else ""),
        (seconds(attempt.duration_ms) if attempt.verdict != "skip" else "–", ""),
        (_cost(attempt.cost_usd), ""),
        (one_line(attempt.skill, SKILL_CHARS), ""),
        (one_line(attempt.excerpt or "–", TEXT_CHARS), ""),
    ]


def _cost(cost_usd: float | None) -> str:
    return "unknown" if cost_usd is None else dollars(cost_usd)


def _statuses(session: SessionSummary) -> str:
    counted = Counter(status.replace("_", " ") for status in session.statuses)
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counted.items())
