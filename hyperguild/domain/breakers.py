"""A breaker as it is stored and shown: who is not asked for a while, since when, and why."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict

from hyperguild.domain.records import Record
from hyperguild.domain.text import one_line
from hyperguild.errors import ErrorKind

ERROR_CHARS = 300
"""Of the last error's message in one line."""


class BreakerRecord(Record):
    """The breaker of an endpoint (`model` None: of all its models) or of one model there.

    `key` stands for base URL and upstream model, `endpoint` and `model` are their names in the chains.yaml
    that last used them. `failures` in a row, `openings` in a row; the times are None while it is closed:
    `since` it first opened, `opened_at` it last did, `open_until` it is not asked.
    """

    model_config = ConfigDict(defer_build=True)  # start-up: most runs neither read nor write one

    key: str
    endpoint: str
    model: str | None = None
    failures: int = 0
    openings: int = 0
    since: datetime | None = None
    opened_at: datetime | None = None
    open_until: datetime | None = None
    error_kind: ErrorKind | None = None
    error: str = ""
    changed_at: datetime

    def is_open(self) -> bool:
        """Tell whether it has opened and not closed since: a request must go well before it does."""
        return self.open_until is not None

    def words(self, now: datetime) -> str:
        """Say who is not asked, since when, after which error, and when it is tried again."""
        since = "" if self.since is None else f" since {self.since:%H:%M:%S} UTC"
        times = f", {self.failures} times in a row" if self.failures > 1 else ""
        kind = "" if self.error_kind is None else f" ({self.error_kind}{times})"
        error = f": {one_line(self.error, ERROR_CHARS)}" if self.error else ""
        return f"{self._who} is out{since}{kind}{error}; {self._again(now)}"

    def again(self, now: datetime) -> str:
        """Say who is not asked, and when it is tried again."""
        return f"{self._who}: {self._again(now)}"

    @property
    def _who(self) -> str:
        return f"endpoint '{self.endpoint}'" if self.model is None else self.model

    def _again(self, now: datetime) -> str:
        left_s = 0.0 if self.open_until is None else (self.open_until - now).total_seconds()
        if left_s <= 0:
            return "the next request tries it again"
        return f"it is tried again in {_span(left_s)}"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{round(seconds / 3600)} h"
