"""Figures and moments, as a person reads them."""

from __future__ import annotations

from datetime import datetime, timedelta

_STILL_RELATIVE = timedelta(days=14)


def seconds(ms: int | None) -> str:
    """Return milliseconds as a person reads them: `340 ms`, `2.1 s`, `3 min 20 s`; a dash for None."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    minutes, rest = divmod(round(ms / 1000), 60)
    return f"{minutes} min {rest} s"


def dollars(cost_usd: float | None) -> str:
    """Return a cost: `$0` for nothing, four digits for less than a dollar, `unknown` for None."""
    if cost_usd is None:
        return "cost unknown"
    if cost_usd == 0:
        return "$0"
    return f"${cost_usd:.4f}" if cost_usd < 1 else f"${cost_usd:.2f}"


def local_time(moment: datetime) -> str:
    """Return the moment in the time zone of this machine: `2026-01-31 13:00:00`."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago it was: `just now`, `5 min ago`, `3 h ago`, `2 d ago`; a date after two weeks."""
    past = now - moment
    if past < timedelta(minutes=1):
        return "just now"
    if past < timedelta(hours=1):
        return f"{past // timedelta(minutes=1)} min ago"
    if past < timedelta(days=1):
        return f"{past // timedelta(hours=1)} h ago"
    if past < _STILL_RELATIVE:
        return f"{past.days} d ago"
    return moment.astimezone().strftime("%Y-%m-%d")
