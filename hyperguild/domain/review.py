"""What the session log is asked for when people look back: filters, pages, labels, facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar

from hyperguild.domain.chain import TierLabel
from hyperguild.domain.records import (
    Cause,
    Record,
    RunStatus,
    SpeculationUse,
    StoredRun,
    VerdictKind,
    WarmState,
)
from hyperguild.domain.usage import Usage

T = TypeVar("T")

LabelValue = Literal["good", "bad"]
LabelState = Literal["good", "bad", "disputed"]
"""What the labels of several reviewers come to: what most of them say, `disputed` where as many say each."""


class ReviewFilter(Record):
    """Which runs or attempts are meant: those that fit every field that is set.

    Several values of one field are alternatives; `none` among `labels` means attempts without one. Costs are
    in USD and of the thing listed: a run's total, or an attempt's own. A run fits `models`, `tiers`,
    `verdicts` and `labels` where one of its attempts fits them all. `since` is included, `until` is not.
    `text` is looked for in tasks and answers.
    """

    skills: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    statuses: tuple[RunStatus, ...] = ()
    models: tuple[str, ...] = ()
    tiers: tuple[TierLabel, ...] = ()
    verdicts: tuple[VerdictKind, ...] = ()
    labels: tuple[LabelState | Literal["none"], ...] = ()
    min_cost_usd: float | None = None
    max_cost_usd: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    session_id: str | None = None


EVERYTHING = ReviewFilter()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a listing, newest first. `after` asks for what follows, None at the end.

    It may hold fewer items than were asked for, even none, though more follow: a page looks through so much
    of the log and no more.
    """

    items: tuple[T, ...]
    after: str | None = None


class RunRow(Record):
    """A run as a listing shows it. `excerpt` is the beginning of its task, None where that was not kept."""

    run_id: str
    session_id: str
    parent_run_id: str | None = None
    skill: str
    chain: str
    status: RunStatus
    model: str | None = None
    tier: TierLabel | None = None
    attempts: int = 0
    duration_ms: int = 0
    cost_usd: float | None = 0.0
    created_at: datetime
    finished_at: datetime | None = None
    excerpt: str | None = None


class AttemptRow(Record):
    """An attempt as a listing shows it. `excerpt` is the beginning of its answer."""

    attempt_id: str
    run_id: str
    session_id: str
    skill: str
    chain: str
    position: int
    model: str
    tier: TierLabel
    verdict: VerdictKind
    cause: Cause | None = None
    score: float | None = None
    judge: str | None = None
    label: LabelState | None = None
    duration_ms: int = 0
    cost_usd: float | None = 0.0
    started_at: datetime | None = None
    excerpt: str = ""


class Hit(Record):
    """Where a text was found: in a run's task (`attempt_id` None) or an attempt's answer.

    `excerpt` alternates between text around and text that was found: parts 1, 3, 5 … are the found ones.
    """

    run_id: str
    session_id: str
    attempt_id: str | None = None
    skill: str
    model: str | None = None
    created_at: datetime
    excerpt: tuple[str, ...]


class Label(Record):
    """What a reviewer said of an attempt. `value` None takes back what they had said before."""

    label_id: str
    attempt_id: str
    reviewer: str
    value: LabelValue | None
    note: str = ""
    created_at: datetime


def current_labels(history: Iterable[Label]) -> tuple[Label, ...]:
    """Return what each reviewer says now, of all that they said (oldest first) of one attempt."""
    newest: dict[str, Label] = {}
    for label in history:
        newest.pop(label.reviewer, None)
        newest[label.reviewer] = label
    return tuple(label for label in newest.values() if label.value is not None)


def consensus(history: Iterable[Label]) -> LabelState | None:
    """Return what the labels of one attempt come to, None where nobody says anything now."""
    counted = Counter(label.value for label in current_labels(history))
    good, bad = counted["good"], counted["bad"]
    if not good and not bad:
        return None
    if good == bad:
        return "disputed"
    return "good" if good > bad else "bad"


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """An attempt as statistics, calibration and replay read it; fields are those of `records.Attempt`.

    `judge` is the model that judged, None where none did; `judge_accepts` is its own word, whatever its score
    (None: not known), and `accept_at` the threshold that applied. `hooks_usage` is what models used that
    hooks asked; what runs used that it delegated is not in here: they are on record themselves.
    """

    attempt_id: str
    position: int
    model: str
    tier: TierLabel
    verdict: VerdictKind
    cause: Cause | None
    score: float | None
    label: LabelState | None
    warm_state: WarmState | None
    duration_ms: int
    load_ms: int | None
    first_token_ms: int | None
    verify_ms: int | None
    usage: Usage
    cost_usd: float | None
    judge: str | None
    judge_usage: Usage
    judge_cost_usd: float | None
    judge_accepts: bool | None
    accept_at: float | None
    started_at: datetime | None
    hooks_usage: Usage = field(default_factory=Usage)
    hooks_cost_usd: float | None = 0.0
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class RunFact:
    """A run as statistics and replay read it, its attempts in order. Totals include delegated runs."""

    run_id: str
    session_id: str
    parent_run_id: str | None
    skill: str
    chain: str
    status: RunStatus
    created_at: datetime
    duration_ms: int
    usage: Usage
    cost_usd: float | None
    attempts: tuple[AttemptFact, ...]
    speculation: SpeculationUse | None = None


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A run that comes from elsewhere, whole, and all that was ever said of its attempts, oldest first."""

    run: StoredRun
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run's facts with its texts: the task, and the answer of each attempt by `attempt_id`."""

    fact: RunFact
    task: str | None
    answers: dict[str, str]


class Pruned(Record):
    """What was deleted, or with a dry run would be; `kept` runs are old enough, but to be kept."""

    runs: int
    attempts: int
    sessions: int
    kept: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of the log has been seen: opaque to callers. `running` are runs that had not ended."""

    run: int
    attempt: int
    step: int
    running: frozenset[str]


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened in the log since a mark, by any process: ids of runs, each list oldest first.

    `progressed` have new steps or attempts. A run may be in all three.
    """

    mark: Mark
    started: tuple[str, ...] = ()
    progressed: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
