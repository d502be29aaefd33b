"""Moments as a person types them: `7d`, `2h`, `2026-11-01`, ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_AGO = re.compile(r"([0-9]{1,6}) ?(s|min|m|h|d|w)")


def read_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """Read the value of an option that takes a time; click says what is wrong with it."""
    if value is None:
        return None
    moment = parse_moment(value)
    if moment is None:
        raise click.BadParameter(f"{value!r} is no time such as 2h, 7d, 2026-11-01T08:30", ctx, param)
    return moment


def parse_moment(text: str) -> datetime | timedelta | None:
    """Return how long ago is meant, or which date and time; None where it is neither.

    A date means its beginning. Where no offset is given, that of this machine is meant.
    """
    text = text.strip()
    ago = _AGO.fullmatch(text.lower())
    if ago is not None:
        return int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def moment_at(moment: datetime | timedelta, now: datetime) -> datetime:
    """Return the date and time; what is too long ago for a calendar is its beginning."""
    if isinstance(moment, datetime):
        return moment
    try:
        return now - moment
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
