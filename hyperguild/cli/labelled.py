"""Runs with what reviewers said of their attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperguild.cli.log_reading import Selection, chosen_runs, run_object
from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import open_review
from hyperguild.domain.records import Attempt, StoredRun
from hyperguild.domain.review import Label, LabelState, consensus
from hyperguild.ports import ReviewStore


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """A run, and all that was ever said of its attempts, by attempt id, oldest first."""

    stored: StoredRun
    labels: Mapping[str, tuple[Label, ...]]

    def label_of(self, attempt: Attempt) -> LabelState | None:
        """Return what the labels of an attempt come to."""
        return consensus(self.labels.get(attempt.attempt_id, ()))

    def as_object(self) -> dict[str, Any]:
        """Return the run as JSON: as `run_object`, with `labels`, all that was said, oldest first."""
        own = [attempt.attempt_id for attempt in self.stored.result.attempts]
        said = sorted((label for one in own for label in self.labels.get(one, ())), key=_age)
        return run_object(self.stored) | {"labels": [label.model_dump(mode="json") for label in said]}


async def with_labels(store: ReviewStore, stored: StoredRun) -> LabelledRun:
    """Return the run with its labels."""
    attempts = [attempt.attempt_id for attempt in stored.result.attempts]
    return LabelledRun(stored, await store.labels(attempts) if attempts else {})


async def labelled_selection(settings: Settings, reference: str) -> Selection:
    """Return what `reference` means: an id of a session or run, the end of one, or `last`; with labels.

    Raises `UsageError` and `StoreError`.
    """
    async with open_review(settings) as store:
        session_id = await store.resolve_session(reference)
        runs = tuple(await store.session_runs(session_id))
        shown = chosen_runs(runs, session_id, reference)
        attempts = [attempt.attempt_id for run in shown for attempt in run.result.attempts]
        return Selection(session_id, runs, shown, await store.labels(attempts) if attempts else {})


def session_object(selection: Selection) -> dict[str, Any]:
    """Return what `sessions show --json` prints: session_id, created_at, and the runs that are shown."""
    first = selection.runs[0] if selection.runs else None
    return {
        "session_id": selection.session_id,
        "created_at": None if first is None else first.model_dump(mode="json")["created_at"],
        "runs": [LabelledRun(stored, selection.labels).as_object() for stored in selection.shown],
    }


def _age(label: Label) -> tuple[object, str]:
    return label.created_at, label.label_id
