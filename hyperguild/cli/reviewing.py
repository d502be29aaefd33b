"""Goes through attempts one by one: shows each, takes a key, records what is said."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import click

from hyperguild.adapters.clock import SystemClock
from hyperguild.cli.keys import Keys
from hyperguild.cli.log_reading import is_there
from hyperguild.cli.options import Settings
from hyperguild.cli.page import Page
from hyperguild.cli.review_log import meant, open_review
from hyperguild.cli.review_page import Shown, fill_review, whole_text
from hyperguild.cli.streams import say
from hyperguild.domain.review import AttemptRow, LabelValue, ReviewFilter
from hyperguild.errors import UsageError
from hyperguild.ports import ReviewStore
from hyperguild.review.queue import in_order

PROMPT = "[g]ood [b]ad [n]ote [s]kip [u]ndo wh[o]le [q]uit [?] "
HELP = """\
g  the answer is good           u  undo: take the last one back, and see it again
b  the answer is bad            o  task and answer whole
n  write a note, then g or b    ?  this help
s  skip it                      q  quit"""
VALUES: dict[str, LabelValue] = {"g": "good", "b": "bad"}


@dataclass(slots=True)
class Tour:
    """The attempts to go through, at which of them one is, and what was said of those before.

    `said` has an entry for each that is behind: the label that was given, None where it was skipped.
    """

    rows: list[AttemptRow]
    said: list[LabelValue | None] = field(default_factory=list)

    @property
    def row(self) -> AttemptRow | None:
        """The attempt to say something of, None at the end."""
        return self.rows[len(self.said)] if len(self.said) < len(self.rows) else None

    def summary(self) -> str:
        """Return what was done, in one line."""
        counted = Counter(value or "skipped" for value in self.said)
        parts = [f"{counted[word]} {word}" for word in ("good", "bad", "skipped") if counted[word]]
        left = len(self.rows) - len(self.said)
        return "; ".join([", ".join(parts) or "nothing labelled", *([f"{left} left"] if left else [])])


def go_through(settings: Settings, wanted: ReviewFilter, reviewer: str, limit: int, keys: Keys) -> None:
    """Show up to `limit` attempts that the reviewer has not labelled, and record what the keys say.

    Each label is on record before the next attempt is shown. Raises `UsageError` and `StoreError`.
    """
    if not is_there(settings.db_file()):
        raise UsageError(f"no session log yet at {settings.db_file()}", hint="`hyperguild run` makes it")
    # One loop for all: between two keys nothing goes on in it.
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        store = runner.run(_opened(opened, settings))
        try:
            candidates = runner.run(_candidates(store, wanted, reviewer, limit))
            tour = Tour(in_order(candidates)[:limit])
            if not tour.rows:
                say("nothing to review: no attempt with an answer fits that you have not labelled")
                return
            try:
                _go(_Review(runner, store, settings, reviewer, keys, tour))
            finally:
                say(tour.summary())
        finally:
            runner.run(opened.aclose())


@dataclass(slots=True)
class _Review:
    """What a tour needs at each of its stops. `note` was written for the attempt that is shown."""

    runner: asyncio.Runner
    store: ReviewStore
    settings: Settings
    reviewer: str
    keys: Keys
    tour: Tour
    note: str = ""

    def shown(self, row: AttemptRow) -> Shown | None:
        """Return all there is to show of an attempt, None where it was deleted meanwhile."""
        return self.runner.run(_shown(self.store, row, len(self.tour.said) + 1, len(self.tour.rows)))

    def record(self, row: AttemptRow, value: LabelValue | None) -> None:
        """Record what is said of an attempt, with the note."""
        self.runner.run(_say(self.store, row.attempt_id, value, self.reviewer, self.note))
        self.note = ""


def _go(review: _Review) -> None:
    tour = review.tour
    while (row := tour.row) is not None:
        shown = review.shown(row)
        if shown is None:
            tour.rows.remove(row)
            continue
        page = Page.for_stdout(review.settings.env)
        fill_review(page, shown, SystemClock().now())
        page.print()
        if not _stop(review, row, shown):
            return


def _stop(review: _Review, row: AttemptRow, shown: Shown) -> bool:
    """Take keys until one leads away from this attempt; return False for the end of the tour."""
    tour = review.tour
    while True:
        taken = review.keys.next(PROMPT)
        if taken is None or taken[0] == "q":
            return False
        key, rest = taken
        if key in VALUES:
            review.record(row, VALUES[key])
            tour.said.append(VALUES[key])
            return True
        if key == "s":
            review.note = ""
            tour.said.append(None)
            return True
        if key == "u" and tour.said:
            _undo(review)
            return True
        _stay(review, key, rest, shown)


def _undo(review: _Review) -> None:
    """Go one back; what was said there is taken back."""
    tour = review.tour
    value = tour.said.pop()
    row = tour.row
    review.note = ""
    if value is not None and row is not None:
        review.record(row, None)


def _stay(review: _Review, key: str, rest: str, shown: Shown) -> None:
    """Do what leaves the attempt as it is: a note, the whole text, help."""
    match key:
        case "n":
            review.note = rest or review.keys.line("note: ")
            say("noted; now g or b" if review.note else "no note")
        case "o" | "f":
            text = whole_text(shown)
            if sys.stdout.isatty() and sys.stdin.isatty():
                click.echo_via_pager(text, color=False)
            else:
                click.echo(text)
        case "u":
            say("there is nothing to undo")
        case _:
            say(HELP)


async def _opened(stack: AsyncExitStack, settings: Settings) -> ReviewStore:
    return await stack.enter_async_context(open_review(settings, writing=True))


async def _say(
    store: ReviewStore, attempt_id: str, value: LabelValue | None, reviewer: str, note: str
) -> None:
    await store.label(attempt_id, value, reviewer=reviewer, note=note)


async def _candidates(
    store: ReviewStore, wanted: ReviewFilter, reviewer: str, limit: int
) -> list[AttemptRow]:
    return await store.to_review(await meant(store, wanted), reviewer=reviewer, limit=limit)


async def _shown(store: ReviewStore, row: AttemptRow, number: int, count: int) -> Shown | None:
    run = await store.run_of_attempt(row.attempt_id)
    attempts = run.result.attempts if run is not None else ()
    attempt = next((one for one in attempts if one.attempt_id == row.attempt_id), None)
    if run is None or attempt is None:
        return None
    labels = await store.labels([row.attempt_id])
    return Shown(number, count, run, attempt, labels.get(row.attempt_id, ()))
