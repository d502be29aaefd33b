"""The numbered steps from an empty file to the newest tables.

Append only: a migration that was released is never edited, a change is a new module `mNNNN_what.py` and a new
entry at the end of `MIGRATIONS`. `PRAGMA user_version` holds the number of the last one that ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperguild.adapters.store.migrations import (
    m0001_initial,
    m0002_steps_of_runs,
    m0003_continued_runs,
    m0004_breakers,
    m0005_reservations,
    m0006_sums,
    m0007_review,
    m0008_speculation,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: what it is called, and its statements; all run in the one transaction of an upgrade.

    Where the query `done` finds a row they are left out: tables that were brought back from a dump are newer
    than the version that their file has.
    """

    name: str
    statements: Sequence[str]
    done: str | None = None


MIGRATIONS: tuple[Migration, ...] = (
    Migration("initial", m0001_initial.STATEMENTS),
    Migration("steps of runs", m0002_steps_of_runs.STATEMENTS, done=m0002_steps_of_runs.DONE),
    Migration("continued runs", m0003_continued_runs.STATEMENTS, done=m0003_continued_runs.DONE),
    Migration("breakers", m0004_breakers.STATEMENTS, done=m0004_breakers.DONE),
    Migration("reservations", m0005_reservations.STATEMENTS, done=m0005_reservations.DONE),
    Migration("sums", m0006_sums.STATEMENTS, done=m0006_sums.DONE),
    Migration("review", m0007_review.STATEMENTS, done=m0007_review.DONE),
    Migration("speculation", m0008_speculation.STATEMENTS, done=m0008_speculation.DONE),
)
"""Number n stands at index n - 1."""
