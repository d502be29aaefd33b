"""Moments, as a person reads them."""

from __future__ import annotations

from datetime import datetime, timedelta

_STILL_RELATIVE = timedelta(days=14)


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
