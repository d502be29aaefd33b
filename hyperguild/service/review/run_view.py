"""A run as its page shows it: what became of each attempt, on one scale of time, and what was said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperguild.domain.message_lines import prompt_length
from hyperguild.domain.outcomes import ENDINGS
from hyperguild.domain.phases import Phase, phases, phases_used
from hyperguild.domain.records import Attempt, RunResult, Step, StoredRun
from hyperguild.domain.review import Label, LabelState, RunRow, consensus, current_labels
from hyperguild.domain.usage import total_cost_usd

BAR_UNITS = 1000
"""The width of all bars, in units of the drawing."""

_THINNEST = 4.0
"""What took any time can be seen."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: what the time went into, where it begins, how wide it is."""

    phase: Phase
    spent_ms: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class StepView:
    """A step with what was sent before it was answered left out: its own messages."""

    step: Step
    messages: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt, numbered from 1, with its prompt, its steps and what reviewers say of it."""

    number: int
    attempt: Attempt
    bar: tuple[Segment, ...]
    prompt: tuple[Mapping[str, Any], ...]
    steps: tuple[StepView, ...]
    labels: tuple[Label, ...]
    changes: int
    state: LabelState | None
    is_best: bool

    @property
    def has_more_than_an_answer(self) -> bool:
        """Whether its steps tell more than the answer does: calls, their results, several turns."""
        return len(self.steps) > 1 or any(
            message.get("tool_calls") for view in self.steps for message in view.messages
        )

    def said_by(self, reviewer: str) -> Label | None:
        """Return what the reviewer says of it now."""
        return next((label for label in self.labels if label.reviewer == reviewer), None)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with all that its page shows. `unfinished` are steps of an attempt that has not ended."""

    stored: StoredRun
    attempts: tuple[AttemptView, ...]
    unfinished: tuple[StepView, ...]
    delegated: tuple[RunRow, ...]
    scale_ms: int

    @property
    def result(self) -> RunResult:
        """The result object."""
        return self.stored.result

    @property
    def judging_usd(self) -> float | None:
        """What the judges cost in all."""
        return total_cost_usd(view.attempt.verifier.cost_usd for view in self.attempts)

    @property
    def phases(self) -> list[Phase]:
        """The phases that the bars show, in the order in which they happen."""
        return phases_used([view.attempt for view in self.attempts])

    @property
    def answered(self) -> tuple[AttemptView, ...]:
        """Attempts that have an answer, and can be compared."""
        return tuple(view for view in self.attempts if view.attempt.answer)

    @property
    def headline(self) -> str:
        """What became of the run, in one sentence."""
        result = self.result
        if result.status != "accepted":
            return ENDINGS[result.status].rstrip(":") + "."
        before = _counted([view.attempt for view in self.attempts if view.attempt.verdict != "accept"])
        return f"{result.model} answered, {before or 'as the first that was asked'}."


def run_view(
    stored: StoredRun, labels: Mapping[str, Sequence[Label]], delegated: Sequence[RunRow] = ()
) -> RunView:
    """Lay out a run; `labels` is all that was ever said of its attempts."""
    attempts = stored.result.attempts
    offsets = _offsets_ms(stored)
    lengths = [sum(spent_ms for _, spent_ms in phases(attempt)) for attempt in attempts]
    scale_ms = max((begin + length for begin, length in zip(offsets, lengths, strict=True)), default=0)
    views = tuple(
        _attempt_view(stored, number, _bar(attempt, offsets[number - 1], scale_ms), labels)
        for number, attempt in enumerate(attempts, 1)
    )
    finished = {attempt.attempt_id for attempt in attempts}
    unfinished = [step for step in stored.steps if step.attempt_id not in finished]
    return RunView(stored, views, _step_views(unfinished)[1], tuple(delegated), scale_ms)


def _attempt_view(
    stored: StoredRun, number: int, bar: tuple[Segment, ...], labels: Mapping[str, Sequence[Label]]
) -> AttemptView:
    result = stored.result
    attempt = result.attempts[number - 1]
    history = labels.get(attempt.attempt_id, ())
    prompt, steps = _step_views([step for step in stored.steps if step.attempt_id == attempt.attempt_id])
    return AttemptView(
        number=number,
        attempt=attempt,
        bar=bar,
        prompt=prompt,
        steps=steps,
        labels=current_labels(history),
        changes=len(history),
        state=consensus(history),
        is_best=result.status != "accepted" and attempt.attempt_id == result.best_attempt_id,
    )


def _step_views(steps: Sequence[Step]) -> tuple[tuple[Mapping[str, Any], ...], tuple[StepView, ...]]:
    """Return what the first step was asked, and the steps without what they were asked anew."""
    prompt = steps[0].messages[: prompt_length(steps[0].messages)] if steps else ()
    views = [
        StepView(step, step.messages[prompt_length(step.messages) :] if step.anew else step.messages)
        for step in steps
    ]
    return prompt, tuple(views)


def _offsets_ms(stored: StoredRun) -> list[int]:
    """Return when each attempt began, counted from the run's beginning; from the one before, if unknown."""
    offsets: list[int] = []
    end = 0
    for attempt in stored.result.attempts:
        began = end
        if attempt.started_at is not None:
            began = max(round((attempt.started_at - stored.created_at).total_seconds() * 1000), 0)
        offsets.append(began)
        end = began + attempt.duration_ms
    # A run that was continued has a gap that would leave no room for anything else.
    span = sum(attempt.duration_ms for attempt in stored.result.attempts)
    if end <= 2 * max(span, 1):
        return offsets
    return [sum(one.duration_ms for one in stored.result.attempts[:index]) for index in range(len(offsets))]


def _bar(attempt: Attempt, begin_ms: int, scale_ms: int) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    unit = BAR_UNITS / max(scale_ms, 1)
    x = begin_ms * unit
    for phase, spent_ms in phases(attempt):
        width = max(spent_ms * unit, _THINNEST)
        x = min(x, BAR_UNITS - width)
        segments.append(Segment(phase, spent_ms, round(x, 1), round(width, 1)))
        x += width
    return tuple(segments)


def _counted(attempts: Sequence[Attempt]) -> str:
    """Return what came before the accepted answer: `after 2 refused answers and 1 error`."""
    kinds = (("escalate", "refused answer"), ("error", "error"), ("skip", "skipped tier"))
    counts = [(sum(one.verdict == verdict for one in attempts), noun) for verdict, noun in kinds]
    parts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return (
        "after " + " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        if parts
        else ""
    )
