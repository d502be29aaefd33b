"""Follows the session log: what happens in it becomes one event after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from hyperguild.cli.log_reading import chosen_runs, is_there
from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import open_review
from hyperguild.cli.streams import say
from hyperguild.domain.records import Attempt, StoredRun
from hyperguild.domain.review import ReviewFilter
from hyperguild.ports import Clock, ReviewStore

LOOK_EVERY_S = 0.25
"""Soon enough for somebody who watches; a look takes well under a millisecond where nothing happened."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened: a run began, an attempt is over, or the run ended. `attempt` of the second."""

    kind: Literal["run.started", "attempt.finished", "run.finished"]
    time: datetime
    run: StoredRun
    attempt: Attempt | None = None


Tell = Callable[[Happening], None]


@dataclass(slots=True)
class Told:
    """What was told of each run, so that nothing is told twice: its attempts, and whether it goes on."""

    attempts: dict[str, set[str]] = field(default_factory=dict)
    under_way: set[str] = field(default_factory=set)

    def news(self, run: StoredRun) -> list[Happening]:
        """Return what is new of a run, in order. One that goes on after its end has begun again."""
        result = run.result
        ended = result.status != "running"
        known = self.attempts.get(result.run_id)
        new = [attempt for attempt in result.attempts if attempt.attempt_id not in (known or ())]
        if known is not None and result.run_id not in self.under_way and ended and not new:
            return []
        found: list[Happening] = []
        if result.run_id not in self.under_way:
            self.under_way.add(result.run_id)
            found.append(Happening("run.started", run.created_at, run))
        at = run.created_at
        for attempt in new:
            at = max(at, _end_of(attempt, at))
            found.append(Happening("attempt.finished", at, run, attempt))
        self.attempts.setdefault(result.run_id, set()).update(one.attempt_id for one in new)
        if ended:
            self.under_way.discard(result.run_id)
            found.append(Happening("run.finished", max(at, run.finished_at or at), run))
        return found


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs are followed: all, those of a session, or one with what it delegates."""

    session_id: str | None = None
    run_id: str | None = None

    def has(self, run: StoredRun) -> bool:
        """Tell whether the run is followed."""
        if self.run_id is not None:
            return self.run_id in {run.result.run_id, run.parent_run_id}
        return self.session_id in {None, run.result.session_id}


async def follow(settings: Settings, reference: str | None, recent: int, tell: Tell, clock: Clock) -> None:
    """Tell what happens from now on, after the `recent` newest runs; returns only where one run is followed.

    Where there is no log yet, it waits for one. Raises `StoreError`, and `UsageError` for a reference that
    means nothing. Cancelling ends it.
    """
    if reference is None and not is_there(settings.db_file()):
        say(f"waiting for the first run: there is no session log yet at {settings.db_file()}")
        while not is_there(settings.db_file()):
            await clock.sleep(LOOK_EVERY_S)
    async with open_review(settings) as store:
        scope = await _scope_of(store, reference)
        await _follow(store, scope, recent, tell, clock)


async def _follow(store: ReviewStore, scope: Scope, recent: int, tell: Tell, clock: Clock) -> None:
    told = Told()
    # First the mark, then what there is: what happens between the two is told, and not twice.
    activity = await store.activity(None)
    ids = [*(await _newest(store, scope, recent)), *activity.started]
    while True:
        for happening in await _news(store, scope, told, ids):
            tell(happening)
        if scope.run_id is not None and ids:
            run = await store.run(scope.run_id)
            if run is None or run.result.status != "running":
                return
        await clock.sleep(LOOK_EVERY_S)
        activity = await store.activity(activity.mark)
        ids = [*activity.started, *activity.progressed, *activity.ended]


async def _news(store: ReviewStore, scope: Scope, told: Told, ids: Iterable[str]) -> list[Happening]:
    found: list[Happening] = []
    for run_id in dict.fromkeys(ids):
        run = await store.run(run_id)
        if run is not None and scope.has(run):
            found += told.news(run)
    return sorted(found, key=lambda happening: happening.time)


async def _newest(store: ReviewStore, scope: Scope, number: int) -> list[str]:
    if scope.run_id is not None:
        return [scope.run_id]
    if number == 0:
        return []
    page = await store.runs(ReviewFilter(session_id=scope.session_id), limit=number)
    return [row.run_id for row in reversed(page.items)]


async def _scope_of(store: ReviewStore, reference: str | None) -> Scope:
    if reference is None:
        return Scope()
    session_id = await store.resolve_session(reference)
    runs = await store.session_runs(session_id)
    chosen = chosen_runs(runs, session_id, reference)
    if len(chosen) == len(runs) and not any(run.result.run_id.endswith(reference) for run in runs):
        return Scope(session_id=session_id)
    return Scope(session_id=session_id, run_id=chosen[0].result.run_id)


def _end_of(attempt: Attempt, otherwise: datetime) -> datetime:
    if attempt.started_at is None:
        return otherwise
    return attempt.started_at + timedelta(milliseconds=attempt.duration_ms)
