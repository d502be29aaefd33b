"""The query of a listing's address, as a filter and as what stands in the form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.datastructures import QueryParams

from hyperguild.domain.chain import TierLabel
from hyperguild.domain.records import RunStatus, VerdictKind
from hyperguild.domain.review import LabelState, ReviewFilter
from hyperguild.errors import UsageError

STATUSES: tuple[str, ...] = get_args(RunStatus)
VERDICTS: tuple[str, ...] = get_args(VerdictKind)
TIERS: tuple[str, ...] = get_args(TierLabel)
LABELS: tuple[str, ...] = (*get_args(LabelState), "none")

_LISTS = {
    "skill": "skills",
    "chain": "chains",
    "model": "models",
    "status": "statuses",
    "verdict": "verdicts",
    "tier": "tiers",
    "label": "labels",
}
"""Query parameter → field. Several values are alternatives: given apart, or with commas between."""

_KEPT = ("by", "days", "target")
_NAMES = (*_LISTS, "text", "session", "min_cost", "max_cost", "since", "until")


@dataclass(frozen=True, slots=True)
class Query:
    """A filter with the words that made it: parameter → what was given.

    `kept` are parameters of the page that are no part of the filter; links and forms carry them on.
    """

    wanted: ReviewFilter
    given: dict[str, str]
    kept: dict[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether it lets everything through."""
        return not self.given

    @property
    def is_narrowed(self) -> bool:
        """Whether more than a text, or a session, was asked for: the form's folded part has a say."""
        return not self.given.keys() <= {"text", "session"}

    def address(self, path: str, **more: str) -> str:
        """Return the path with this query, and more of it."""
        return _address(path, {**self.given, **self.kept, **more})

    def without(self, name: str, path: str) -> str:
        """Return the path with this query less one parameter."""
        return _address(
            path, {key: value for key, value in {**self.given, **self.kept}.items() if key != name}
        )


def _address(path: str, params: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in params.items() if value})
    return f"{path}?{query}" if query else path


def read_query(params: QueryParams) -> Query:
    """Read a query. Raises `UsageError` for a value that cannot be meant."""
    given = {}
    for name in _NAMES:
        value = ",".join(params.getlist(name)).strip(", ") if name in _LISTS else params.get(name, "").strip()
        if value:
            given[name] = value
    fields: dict[str, object] = {_LISTS[name]: _several(given[name]) for name in _LISTS if name in given}
    fields |= {
        f"{name}_usd": _number(given[name], name) for name in ("min_cost", "max_cost") if name in given
    }
    if "since" in given:
        fields["since"] = _day(given["since"], "since")
    if "until" in given:  # the day itself is meant, too
        fields["until"] = _day(given["until"], "until", days=1)
    fields |= {"text": given.get("text", ""), "session_id": given.get("session")}
    kept = {name: params[name] for name in _KEPT if params.get(name)}
    try:
        return Query(ReviewFilter.model_validate(fields), given, kept)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f'no such {first["loc"][0]}: "{first["input"]}"') from error


def _several(value: str) -> Sequence[str]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _number(value: str, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f'{name}: "{value}" is no number of dollars') from None
    if not 0 <= number < float("inf"):
        raise UsageError(f'{name}: "{value}" is no number of dollars')
    return number


def _day(value: str, name: str, days: int = 0) -> datetime:
    """Return when the day begins, or one so many days later, in the time zone of this machine."""
    try:
        day = datetime.strptime(value, "%Y-%m-%d")  # noqa: DTZ007  # local time is meant
        return (day + timedelta(days=days)).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f'{name}: "{value}" is no date, as 2026-01-31') from None
