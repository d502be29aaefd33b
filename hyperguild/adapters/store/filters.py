"""A `ReviewFilter` as conditions of SQL over `runs` and `attempts`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from hyperguild.adapters.store.rows import to_time
from hyperguild.domain.review import ReviewFilter


@dataclass(slots=True)
class Conditions:
    """Conditions that all hold, and the values of their parameters."""

    parts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    @property
    def sql(self) -> str:
        """The conditions as one expression; the values are asked for in its order."""
        return " AND ".join(self.parts) or "1"

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition; one `?` for each value."""
        self.parts.append(condition)
        self.values.extend(values)

    def one_of(self, column: str, values: Sequence[str]) -> None:
        """Add that the column holds one of the values, where there are any."""
        if values:
            self.add(f"{column} IN ({', '.join('?' * len(values))})", *values)

    def between(self, column: str, low: Any, high: Any, *, ends: bool) -> None:
        """Add that the column is at least `low`, and below `high` (at most, where `ends`)."""
        if low is not None:
            self.add(f"{column} >= ?", low)
        if high is not None:
            self.add(f"{column} {'<=' if ends else '<'} ?", high)


def of_runs(wanted: ReviewFilter, dead: Collection[str]) -> Conditions:
    """Return what holds for a row of `runs` that fits, all but the text.

    `dead` are ids of runs that are `running` by their rows, while their process is gone.
    """
    found = Conditions()
    found.one_of("runs.skill", wanted.skills)
    found.one_of("runs.chain", wanted.chains)
    found.between("runs.cost_usd", wanted.min_cost_usd, wanted.max_cost_usd, ends=True)
    _add_times(found, "runs.created_at", wanted)
    _add_states(found, wanted, dead)
    one = Conditions()
    _add_outcome(one, wanted)
    if one.parts:
        found.add(
            f"EXISTS (SELECT 1 FROM attempts WHERE attempts.run_id = runs.run_id AND {one.sql})", *one.values
        )
    return found


def of_attempts(wanted: ReviewFilter, dead: Collection[str]) -> Conditions:
    """Return what holds for a row of `attempts` that fits, all but the text; `dead` as for `of_runs`."""
    found = Conditions()
    found.one_of("attempts.skill", wanted.skills)
    found.one_of("attempts.chain", wanted.chains)
    _add_outcome(found, wanted)
    found.between("attempts.cost_usd", wanted.min_cost_usd, wanted.max_cost_usd, ends=True)
    _add_times(found, "attempts.run_created_at", wanted)
    run = Conditions()
    _add_states(run, wanted, dead)
    if run.parts:
        found.add(
            f"EXISTS (SELECT 1 FROM runs WHERE runs.run_id = attempts.run_id AND {run.sql})", *run.values
        )
    return found


def _add_times(found: Conditions, column: str, wanted: ReviewFilter) -> None:
    since, until = (None if at is None else to_time(at) for at in (wanted.since, wanted.until))
    found.between(column, since, until, ends=False)


def _add_outcome(found: Conditions, wanted: ReviewFilter) -> None:
    found.one_of("attempts.model", wanted.models)
    found.one_of("attempts.tier", wanted.tiers)
    found.one_of("attempts.verdict", wanted.verdicts)
    if wanted.labels:
        said = [label for label in wanted.labels if label != "none"]
        unsaid = " OR attempts.label IS NULL" if "none" in wanted.labels else ""
        found.add(f"(attempts.label IN ({', '.join('?' * len(said))}){unsaid})", *said)


def _add_states(found: Conditions, wanted: ReviewFilter, dead: Collection[str]) -> None:
    if wanted.session_id is not None:
        found.add("runs.session_id = ?", wanted.session_id)
    if not wanted.statuses:
        return
    alive = "runs.run_id NOT IN (SELECT value FROM json_each(?))"
    places = ", ".join("?" * len(wanted.statuses))
    gone = json.dumps(sorted(dead))
    if "interrupted" in wanted.statuses:
        found.add(f"(runs.status IN ({places}) OR NOT {alive})", *wanted.statuses, gone)
    else:
        found.add(f"runs.status IN ({places}) AND {alive}", *wanted.statuses, gone)
