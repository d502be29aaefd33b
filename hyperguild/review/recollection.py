"""What is on record of tasks: which model answered what, how it was judged and labelled. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hyperguild.domain.records import Cause
from hyperguild.domain.review import AttemptFact, LabelState, RecordedRun

VERIFIED: frozenset[Cause | None] = frozenset({None, "rejected", "check_failed", "verifier_error", "budget"})
"""Causes with which an answer came as far as its verifier; with all others it was refused before."""

REPLAY_CHAIN = "replay"
"""The chain of runs that `replay --live` makes to fill gaps."""

CUT_SHORT: Mapping[str | None, Cause] = {
    "length": "truncated",
    "refusal": "rejected",
    "content_filter": "rejected",
    "tool_calls": "rejected",
}
"""Ends of an answer with which it is refused, verified or not."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of an answer; `accepts` is its own word, None where only its score is known."""

    judge: str
    score: float
    accepts: bool | None
    fact: AttemptFact

    def accepted_at(self, threshold: float) -> bool | None:
        """Return whether it accepts at this threshold; None where the record does not tell."""
        return False if self.score < threshold else self.accepts


@dataclass(frozen=True, slots=True)
class Answer:
    """An attempt that brought an answer, or an error on record (`fact.verdict`).

    `text` is None where the log did not keep it. `after_refusal`: its prompt held what was said of an
    earlier attempt of its run. `judgements` are those of the same text by the same model to the same task,
    by judge, wherever they were made; `label` likewise.
    """

    fact: AttemptFact
    text: str | None
    after_refusal: bool
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    label: LabelState | None = None

    @property
    def is_error(self) -> bool:
        """Whether there is no usable answer."""
        return self.fact.verdict == "error"

    @property
    def refused_before(self) -> Cause | None:
        """Why it was refused whatever a verifier would say; None where it was not."""
        if self.is_error:
            return None
        if self.fact.finish_reason in CUT_SHORT:
            return CUT_SHORT[self.fact.finish_reason]
        return None if self.fact.cause in VERIFIED else self.fact.cause


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task of a skill and what each model said to it: answers newest first, errors after them.

    `text` is None where the log did not keep it: such a task is one run's alone.
    """

    skill: str
    text: str | None
    answers: Mapping[str, tuple[Answer, ...]]


def recollect(runs: Iterable[RecordedRun]) -> tuple[KnownTask, ...]:
    """Join runs into tasks by skill and task text; what comes of it does not depend on their order.

    Tasks are ordered by their oldest run. Attempts that were skipped, cancelled
    or kept from answering by a limit say nothing.
    """
    tasks: dict[tuple[str, str | None, str], _Gathering] = {}
    for run in sorted(runs, key=lambda one: one.fact.run_id):
        alone = run.fact.run_id if run.task is None else ""
        key = (run.fact.skill, run.task, alone)
        tasks.setdefault(key, _Gathering()).add(run)
    return tuple(
        KnownTask(skill, text, gathering.by_model()) for (skill, text, _), gathering in tasks.items()
    )


class _Gathering:
    """What is said of one task, while it is read."""

    def __init__(self) -> None:
        self._seen: list[tuple[AttemptFact, str | None, bool]] = []
        self._only_judged: set[str] = set()

    def add(self, run: RecordedRun) -> None:
        """Take the attempts of one run."""
        refused = False
        for fact in run.fact.attempts:
            text = run.answers.get(fact.attempt_id) or None
            says_nothing = fact.verdict == "skip" or (text is None and fact.cause == "budget")
            if not says_nothing and fact.cause != "cancelled":
                self._seen.append((fact, text, refused))
            if run.fact.chain == REPLAY_CHAIN and not fact.usage.tokens:
                self._only_judged.add(fact.attempt_id)
            refused = refused or fact.verdict == "escalate"

    def by_model(self) -> dict[str, tuple[Answer, ...]]:
        """Return the answers of each model, those of the same text with all that is known of it."""
        alike: dict[tuple[str, str], list[AttemptFact]] = defaultdict(list)
        for fact, text, _ in self._seen:
            alike[fact.model, text or fact.attempt_id].append(fact)
        answers: dict[str, list[Answer]] = defaultdict(list)
        for fact, text, refused in self._seen:
            same = sorted(alike[fact.model, text or fact.attempt_id], key=lambda one: one.attempt_id)
            if fact.attempt_id in self._only_judged and not self._only_judged.issuperset(
                one.attempt_id for one in same
            ):
                continue  # a recorded answer that was judged later stands once, with what it took itself
            answers[fact.model].append(
                Answer(fact, text, refused, _judgements(same), fact.label or _label(same))
            )
        for found in answers.values():
            found.sort(key=lambda one: one.fact.attempt_id, reverse=True)
            found.sort(key=lambda one: one.is_error)
        return {model: tuple(answers[model]) for model in sorted(answers)}


def _judgements(facts: Iterable[AttemptFact]) -> dict[str, Judgement]:
    """Return the newest judgement of each judge, of attempts oldest first."""
    found: dict[str, Judgement] = {}
    for fact in facts:
        if fact.judge is not None and fact.score is not None:
            found[fact.judge] = Judgement(fact.judge, fact.score, _word(fact), fact)
    return found


def _word(fact: AttemptFact) -> bool | None:
    """Return whether the judge itself accepted, as far as the record tells."""
    if fact.judge_accepts is not None:
        return fact.judge_accepts
    if fact.verdict == "accept":
        return True
    at_or_above = fact.accept_at is not None and fact.score is not None and fact.score >= fact.accept_at
    return False if at_or_above else None


def _label(facts: Iterable[AttemptFact]) -> LabelState | None:
    said = {fact.label for fact in facts if fact.label is not None}
    if not said:
        return None
    return said.pop() if len(said) == 1 else "disputed"
