"""The session log as a place to look, judge and learn from: `ReviewStore` over an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from hyperguild import __version__
from hyperguild.adapters.store.activity import read_activity
from hyperguild.adapters.store.connection import open_for_reading, open_for_writing
from hyperguild.adapters.store.facts import BATCH, fitting_runs, recorded_runs
from hyperguild.adapters.store.labels import add_label, read_labels
from hyperguild.adapters.store.listing import Listing
from hyperguild.adapters.store.pruning import Wanted, count_prunable, prune
from hyperguild.adapters.store.reading import LogReader
from hyperguild.adapters.store.references import find_attempt, find_run, find_session
from hyperguild.adapters.store.reviewing import to_review
from hyperguild.adapters.store.thread import StoreThread
from hyperguild.domain.records import SessionSummary, StoredRun
from hyperguild.domain.review import (
    Activity,
    AttemptRow,
    Hit,
    Label,
    LabelValue,
    Mark,
    Page,
    Pruned,
    RecordedRun,
    ReviewFilter,
    RunFact,
    RunRow,
)
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.text import encodable
from hyperguild.errors import UsageError
from hyperguild.ports import Clock, IdSource

T = TypeVar("T")


class SqliteReviewStore:
    """Looks back at the session log; implements `ports.ReviewStore`. Made by `open`.

    Every method is one transaction in the store's thread (each batch of a generator is one), and raises
    `StoreError`. Notes of reviewers are scrubbed. `interrupted` are also runs whose process is gone and that
    are not marked so yet.
    """

    def __init__(self, path: Path, scrubber: Scrubber, clock: Clock, ids: IdSource, version: str) -> None:
        self._path = path
        self._scrubber = scrubber
        self._clock = clock
        self._ids = ids
        self._version = version
        self._reader = LogReader(path, clock)
        self._thread = StoreThread(path, "review")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        scrubber: Scrubber,
        clock: Clock,
        ids: IdSource,
        read_only: bool = True,
        version: str = __version__,
    ) -> Self:
        """Open the log at `path`, for writing made and upgraded as needed; `version` is the program's.

        Labels and pruning take one that is open for writing. Raises `StoreError`, also where there is no log
        to read, and `StoreVersionError`. Cancelled, it leaves nothing open.
        """
        store = cls(path, scrubber, clock, ids, version)
        await store._thread.connect(store._connect_to_read if read_only else store._connect_to_write)
        return store

    async def sessions(
        self, wanted: ReviewFilter, *, limit: int, after: str | None = None
    ) -> Page[SessionSummary]:
        """Return sessions that have a run that fits, by their newest run that does."""
        return await self._page(Listing.sessions, wanted, limit, after)

    async def runs(self, wanted: ReviewFilter, *, limit: int, after: str | None = None) -> Page[RunRow]:
        """Return runs that fit, delegated ones too."""
        return await self._page(Listing.runs, wanted, limit, after)

    async def attempts(
        self, wanted: ReviewFilter, *, limit: int, after: str | None = None
    ) -> Page[AttemptRow]:
        """Return attempts that fit."""
        return await self._page(Listing.attempts, wanted, limit, after)

    async def search(self, wanted: ReviewFilter, *, limit: int, after: str | None = None) -> Page[Hit]:
        """Return where `wanted.text` is found. Raises `UsageError` for a bad query."""
        return await self._page(Listing.search, wanted, limit, after)

    async def run(self, run_id: str) -> StoredRun | None:
        """Return one run with attempts and steps, or None."""
        return await self._thread.read(lambda connection: self._reader.run(connection, run_id))

    async def run_of_attempt(self, attempt_id: str) -> StoredRun | None:
        """Return the run that an attempt is of, with attempts and steps, or None."""

        def work(connection: sqlite3.Connection) -> StoredRun | None:
            query = "SELECT run_id FROM attempts WHERE attempt_id = ?"
            row = connection.execute(query, (attempt_id,)).fetchone()
            return None if row is None else self._reader.run(connection, row["run_id"])

        return await self._thread.read(work)

    async def session_runs(self, session_id: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first."""
        return await self._thread.read(lambda connection: self._reader.session_runs(connection, session_id))

    async def resolve_session(self, reference: str) -> str:
        """Return the session that is meant, as `SessionStore` does. Raises `UsageError`."""
        return await self._thread.read(lambda connection: find_session(connection, reference))

    async def resolve_run(self, reference: str) -> str:
        """Return the run that is meant, as `SessionStore` does. Raises `UsageError`."""
        return await self._thread.read(lambda connection: find_run(connection, reference))

    async def resolve_attempt(self, reference: str) -> str:
        """Return the attempt id for an id, a unique suffix, or `RUN:N`, the Nth (from 1) attempt of a run.

        A reference to a run alone (`last` too) means its best attempt, else its last. Raises `UsageError`.
        """
        return await self._thread.read(lambda connection: find_attempt(connection, reference))

    async def run_facts(self, wanted: ReviewFilter) -> AsyncGenerator[Sequence[RunFact], None]:
        """Yield the facts of all runs that fit, in batches, oldest first; delegated runs too."""
        async for batch in self._recorded(wanted, texts=False):
            yield [run.fact for run in batch]

    async def recorded_runs(self, wanted: ReviewFilter) -> AsyncGenerator[Sequence[RecordedRun], None]:
        """Yield all runs that fit with task and answers, in batches, oldest first."""
        async for batch in self._recorded(wanted, texts=True):
            yield batch

    async def labels(self, attempt_ids: Sequence[str]) -> dict[str, tuple[Label, ...]]:
        """Return all that was ever said of these attempts, oldest first; those without are left out."""
        return await self._thread.read(
            lambda connection: self._reader.readable(lambda: read_labels(connection, attempt_ids), "label")
        )

    async def label(self, attempt_id: str, value: LabelValue | None, *, reviewer: str, note: str) -> Label:
        """Record what a reviewer says of an attempt; it takes the place of what they said before.

        Returns it as it is stored. Raises `UsageError` where there is no such attempt.
        """
        label = Label(
            label_id=self._ids.new_id(),
            attempt_id=attempt_id,
            reviewer=encodable(reviewer),
            value=value,
            note=encodable(self._scrubber.scrub(note)),
            created_at=self._clock.now(),
        )
        await self._thread.write(lambda connection: add_label(connection, label))
        return label

    async def to_review(self, wanted: ReviewFilter, *, reviewer: str, limit: int) -> list[AttemptRow]:
        """Return attempts with answers that the reviewer has not labelled, in no order: candidates.

        Those accepted with the lowest scores, those refused with the highest, those whose label contradicts
        their verdict, and the newest others: up to `limit` of each.
        """
        return await self._thread.read(
            lambda connection: to_review(self._reader, connection, wanted, reviewer, limit)
        )

    async def activity(self, since: Mark | None) -> Activity:
        """Return what happened since the mark; None begins now, with what is under way as `started`."""
        return await self._thread.read(
            lambda connection: read_activity(connection, since, self._is_under_way)
        )

    async def prune(
        self, older_than: datetime, *, keep_labelled: bool, skills: Sequence[str] = (), dry_run: bool = False
    ) -> Pruned:
        """Delete runs that began before, and what belongs to them; none that are under way.

        With `keep_labelled` runs with a labelled attempt stay. What is deleted is overwritten. Not one
        transaction, but many: others write in between. Cancelled, it leaves whole runs.
        """
        wanted = Wanted(older_than, keep_labelled, frozenset(skills))
        if dry_run:
            return await count_prunable(self._thread, wanted, self._is_under_way)
        return await prune(self._thread, wanted, self._is_under_way, self._clock)

    async def aclose(self) -> None:
        """Close the database once all that was asked for is done. Safe to call twice, and when cancelled."""
        await self._thread.aclose()

    async def _page(
        self,
        read: Callable[[Listing], Page[T]],
        wanted: ReviewFilter,
        limit: int,
        after: str | None,
    ) -> Page[T]:
        if limit < 1:
            raise UsageError(f"a page of {limit} items", hint="ask for at least one")
        return await self._thread.read(
            lambda connection: read(Listing(self._reader, connection, wanted, limit, after))
        )

    async def _recorded(
        self, wanted: ReviewFilter, *, texts: bool
    ) -> AsyncGenerator[Sequence[RecordedRun], None]:
        run_ids = await self._thread.read(lambda connection: fitting_runs(self._reader, connection, wanted))
        for start in range(0, len(run_ids), BATCH):
            part = run_ids[start : start + BATCH]
            read = partial(recorded_runs, reader=self._reader, run_ids=part, texts=texts)
            batch = await self._thread.read(read)
            if batch:
                yield batch

    # From here on, everything runs in the store's thread.

    def _is_under_way(self, row: sqlite3.Row) -> bool:
        return self._reader.status(row) == "running"

    def _connect_to_read(self) -> sqlite3.Connection:
        return open_for_reading(self._path, program_version=self._version)

    def _connect_to_write(self) -> sqlite3.Connection:
        return open_for_writing(self._path, program_version=self._version)
