"""Carries out `label`, and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import open_review
from hyperguild.cli.session_table import SUFFIX
from hyperguild.domain.outcomes import outcome
from hyperguild.domain.records import Attempt
from hyperguild.domain.review import Label, LabelState, LabelValue, consensus
from hyperguild.domain.text import one_line
from hyperguild.errors import StoreError

ANSWER_CHARS = 60


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label as it was stored, the attempt and its run; `state` is what all labels of it come to."""

    label: Label
    attempt: Attempt
    number: int
    run_id: str
    state: LabelState | None

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON."""
        attempt = self.attempt.model_dump(mode="json", include={"model", "verdict", "score"})
        return self.label.model_dump(mode="json") | {"run_id": self.run_id} | attempt | {"label": self.state}


async def add_label(
    settings: Settings, reference: str, value: LabelValue | None, *, reviewer: str, note: str
) -> Labelled:
    """Label the attempt that is meant. Raises `UsageError` and `StoreError`."""
    async with open_review(settings, writing=True) as store:
        attempt_id = await store.resolve_attempt(reference)
        label = await store.label(attempt_id, value, reviewer=reviewer, note=note)
        history = await store.labels([attempt_id])
        run = await store.run_of_attempt(attempt_id)
    attempts = run.result.attempts if run is not None else ()
    for number, attempt in enumerate(attempts, 1):
        if run is not None and attempt.attempt_id == attempt_id:
            state = consensus(history.get(attempt_id, ()))
            return Labelled(label, attempt, number, run.result.run_id, state)
    raise StoreError(f"the attempt {attempt_id} was deleted meanwhile")


def told(labelled: Labelled) -> str:
    """Return what was said of which attempt, in one line."""
    label, attempt = labelled.label, labelled.attempt
    what = label.value or "no label"
    which = f"attempt {labelled.number} of run {labelled.run_id[-SUFFIX:]}"
    answer = f' "{one_line(attempt.answer, ANSWER_CHARS)}"' if attempt.answer else ""
    others = f"; all in all: {labelled.state}" if labelled.state not in {None, label.value} else ""
    return f"{what}: {which}, {attempt.model}, {outcome(attempt)}{answer}; by {label.reviewer}{others}"
