"""How runs went, by skill, chain, model, tier or day: rates, errors, latencies, tokens, cost, savings."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Literal

from hyperguild.domain.chain import Model
from hyperguild.domain.records import Record, SpeculationUse
from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.domain.usage import Usage
from hyperguild.review.savings import OWN_END, Saved, Savings

By = Literal["skill", "chain", "model", "tier", "day"]


class Spread(Record):
    """A latency: of how many it is known, and its percentiles in milliseconds, null where it is of none."""

    count: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


class Latency(Record):
    """Where the time went.

    `whole` is that of runs that came to their own end; by model and tier, of attempts that were tried. The
    others are of attempts: `load` of those that waited for their model to load, `first_token` from there (or
    from the request) to the first token, `judge` the checks and the judge of those that were judged.
    `answer` is what is left of an attempt with a first token: its duration less load, first token and
    verifying; the tools and retries of an attempt are in it.
    """

    whole: Spread = Spread()
    load: Spread = Spread()
    first_token: Spread = Spread()
    answer: Spread = Spread()
    judge: Spread = Spread()


class Group(Record):
    """What is known of the runs of one group; by model and tier, of the attempts in them that are its own.

    `runs` counts delegated ones, too (`delegated`); by model and tier a run counts wherever it was tried.
    `attempts` were tried, `skipped` ones were not.

    Rates are shares, null where there is nothing to count. By skill, chain and day they are of runs that
    came to an end of their own (neither cancelled nor interrupted, nor under way): `acceptance_rate` were
    accepted, in `escalation_rate` at least one answer was refused. By model and tier they are of the
    attempts that were tried and not cancelled: accepted, or refused.

    `errors` counts the kinds of errors that attempts ended with, `causes` why others were refused.
    `warm_share` is that of ready models among attempts whose warm state was found.

    `usage` and `cost_usd` hold judges and hooks (`judge_usage`, `judge_cost_usd`: judges alone) and leave
    out what delegated runs used: those are counted themselves. So groups add up to the whole. `cost_usd` is
    of what is known; of `cost_unknown` attempts it is not. By model and tier a run's saving belongs to the
    attempt that was accepted, else to the last one tried. `speculation` is that of the runs; null where
    nothing was begun early, and by model and tier but for all together.
    """

    group: str
    runs: int
    delegated: int
    statuses: dict[str, int]
    attempts: int
    skipped: int
    accepted: int
    escalated: int
    failed: int
    acceptance_rate: float | None
    escalation_rate: float | None
    errors: dict[str, int]
    causes: dict[str, int]
    warm_share: float | None
    latency: Latency
    usage: Usage
    judge_usage: Usage
    cost_usd: float
    judge_cost_usd: float
    cost_unknown: int
    saved: Saved
    speculation: SpeculationUse | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Groups, the largest first (days: oldest first), and all runs together."""

    by: By
    groups: tuple[Group, ...]
    whole: Group


class Counting:
    """Takes runs one by one. Keeps sums, and of each latency one number an attempt, for the percentiles.

    `last_tiers` are the last tiers' models by chain, for what was saved.
    """

    def __init__(self, by: By, last_tiers: Mapping[str, Model]) -> None:
        self._by = by
        self._savings = Savings(last_tiers)
        self._groups: dict[str, _Sums] = {}
        self._runs = _OfRuns()

    def add(self, run: RunFact) -> None:
        """Count one run."""
        for group, attempts in self._parts(run).items():
            sums = self._groups.get(group)
            if sums is None:
                sums = self._groups[group] = _Sums(_OfRuns(), _OfAttempts())
            sums.runs.add(run, attempts)
            for attempt in attempts:
                sums.attempts.add(attempt)
        self._runs.add(run, run.attempts)
        self._savings.add(run, self._credited(run))

    def result(self) -> Statistics:
        """Return what the runs come to so far."""
        of_attempts = self._of_attempts
        groups = [
            sums.group(name, self._savings.of(name), of_attempts=of_attempts)
            for name, sums in self._groups.items()
        ]
        groups.sort(key=lambda one: one.group if self._by == "day" else (-one.runs, one.group))
        together = _OfAttempts()
        for sums in self._groups.values():
            together.take_in(sums.attempts)
        whole = _Sums(self._runs, together).group("all", self._savings.whole(), of_attempts=of_attempts)
        whole = whole.model_copy(update={"speculation": self._runs.speculation})
        return Statistics(self._by, tuple(groups), whole)

    @property
    def _of_attempts(self) -> bool:
        return self._by in {"model", "tier"}

    def _parts(self, run: RunFact) -> dict[str, Sequence[AttemptFact]]:
        """Return the groups that the run belongs to, and which of its attempts belong to each."""
        if not self._of_attempts:
            return {self._run_group(run): run.attempts}
        names = dict.fromkeys(map(self._attempt_group, run.attempts))
        return {
            name: [attempt for attempt in run.attempts if self._attempt_group(attempt) == name]
            for name in names
        }

    def _credited(self, run: RunFact) -> str:
        if not self._of_attempts:
            return self._run_group(run)
        tried = [attempt for attempt in run.attempts if attempt.verdict != "skip"]
        chosen = [attempt for attempt in tried if attempt.verdict == "accept"] or tried
        return self._attempt_group(chosen[-1]) if chosen else ""

    def _run_group(self, run: RunFact) -> str:
        match self._by:
            case "skill":
                return run.skill
            case "chain":
                return run.chain
            case _:
                return run.created_at.astimezone(UTC).date().isoformat()

    def _attempt_group(self, attempt: AttemptFact) -> str:
        return attempt.model if self._by == "model" else attempt.tier


async def count_runs(
    batches: AsyncIterable[Sequence[RunFact]], by: By, last_tiers: Mapping[str, Model]
) -> Statistics:
    """Return the statistics of all runs of the batches (`ReviewStore.run_facts`). Raises what that does."""
    counting = Counting(by, last_tiers)
    async for batch in batches:
        for run in batch:
            counting.add(run)
    return counting.result()


def percentile(ordered: Sequence[int], share: float) -> float | None:
    """Return the percentile of ordered numbers, linear between two of them; None where there are none."""
    if not ordered:
        return None
    rank = share * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def _numbers() -> array[int]:
    return array("q")


def _spread(numbers: Iterable[int]) -> Spread:
    ordered = sorted(numbers)
    return Spread(count=len(ordered), p50_ms=percentile(ordered, 0.5), p95_ms=percentile(ordered, 0.95))


@dataclass(slots=True)
class _Tokens:
    """A running sum: plain numbers, since a million small objects take their time."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0

    def add(self, usage: Usage) -> None:
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        self.cached += usage.cached_input_tokens
        self.written += usage.cache_write_tokens

    def take_in(self, other: _Tokens) -> None:
        self.input += other.input
        self.output += other.output
        self.cached += other.cached
        self.written += other.written

    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input,
            output_tokens=self.output,
            cached_input_tokens=self.cached,
            cache_write_tokens=self.written,
        )


@dataclass(slots=True)
class _Times:
    """Latencies of attempts in milliseconds, one number each."""

    whole: array[int] = field(default_factory=_numbers)
    load: array[int] = field(default_factory=_numbers)
    first_token: array[int] = field(default_factory=_numbers)
    answer: array[int] = field(default_factory=_numbers)
    judge: array[int] = field(default_factory=_numbers)

    def add(self, attempt: AttemptFact) -> None:
        self.whole.append(attempt.duration_ms)
        if attempt.load_ms is not None:
            self.load.append(attempt.load_ms)
        if attempt.first_token_ms is not None:
            self.first_token.append(attempt.first_token_ms)
            others = (attempt.load_ms or 0) + attempt.first_token_ms + (attempt.verify_ms or 0)
            self.answer.append(max(attempt.duration_ms - others, 0))
        if attempt.judge is not None and attempt.verify_ms is not None:
            self.judge.append(attempt.verify_ms)

    def take_in(self, other: _Times) -> None:
        self.whole.extend(other.whole)
        self.load.extend(other.load)
        self.first_token.extend(other.first_token)
        self.answer.extend(other.answer)
        self.judge.extend(other.judge)

    def latency(self, whole: array[int]) -> Latency:
        return Latency(
            whole=_spread(whole),
            load=_spread(self.load),
            first_token=_spread(self.first_token),
            answer=_spread(self.answer),
            judge=_spread(self.judge),
        )


@dataclass(slots=True)
class _OfRuns:
    """What is counted once a run."""

    delegated: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    escalated: int = 0
    speculation: SpeculationUse | None = None
    durations: array[int] = field(default_factory=_numbers)

    def add(self, run: RunFact, attempts: Sequence[AttemptFact]) -> None:
        """Count a run, with those of its attempts that belong to the group."""
        self.statuses[run.status] += 1
        self.delegated += run.parent_run_id is not None
        if run.speculation is not None:
            self.speculation = (self.speculation or SpeculationUse()) + run.speculation
        if run.status in OWN_END:
            self.escalated += any(attempt.verdict == "escalate" for attempt in attempts)
            self.durations.append(run.duration_ms)


@dataclass(slots=True)
class _OfAttempts:
    """What is counted once an attempt."""

    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    probed: int = 0
    warm: int = 0
    times: _Times = field(default_factory=_Times)
    tokens: _Tokens = field(default_factory=_Tokens)
    judge_tokens: _Tokens = field(default_factory=_Tokens)
    cost_usd: float = 0.0
    judge_cost_usd: float = 0.0
    cost_unknown: int = 0

    def add(self, attempt: AttemptFact) -> None:
        """Count an attempt; of one that was skipped, that alone."""
        self.verdicts[attempt.verdict] += 1
        if attempt.verdict == "skip":
            return
        if attempt.verdict == "error":
            self.errors[attempt.cause or "unknown"] += 1
        if attempt.verdict == "escalate":
            self.causes[attempt.cause or "unknown"] += 1
        if attempt.warm_state in {"ready", "starting", "cold"}:
            self.probed += 1
            self.warm += attempt.warm_state == "ready"
        self.times.add(attempt)
        self.tokens.add(attempt.usage)
        self.tokens.add(attempt.judge_usage)
        self.tokens.add(attempt.hooks_usage)
        self.judge_tokens.add(attempt.judge_usage)
        costs = (attempt.cost_usd, attempt.judge_cost_usd, attempt.hooks_cost_usd)
        self.cost_usd += (costs[0] or 0.0) + (costs[1] or 0.0) + (costs[2] or 0.0)
        self.judge_cost_usd += costs[1] or 0.0
        self.cost_unknown += None in costs

    def take_in(self, other: _OfAttempts) -> None:
        """Count all attempts that the other has counted."""
        self.verdicts += other.verdicts
        self.errors += other.errors
        self.causes += other.causes
        self.probed += other.probed
        self.warm += other.warm
        self.times.take_in(other.times)
        self.tokens.take_in(other.tokens)
        self.judge_tokens.take_in(other.judge_tokens)
        self.cost_usd += other.cost_usd
        self.judge_cost_usd += other.judge_cost_usd
        self.cost_unknown += other.cost_unknown


@dataclass(frozen=True, slots=True)
class _Sums:
    """What is counted of one group."""

    runs: _OfRuns
    attempts: _OfAttempts

    def group(self, name: str, saved: Saved, *, of_attempts: bool) -> Group:
        """Return the group as it is shown."""
        runs, counted = self.runs, self.attempts
        accepted, escalated = counted.verdicts["accept"], counted.verdicts["escalate"]
        failed, skipped = counted.verdicts["error"], counted.verdicts["skip"]
        tried = accepted + escalated + failed
        if of_attempts:
            decided = tried - counted.errors["cancelled"]
            rates = (_share(accepted, decided), _share(escalated, decided))
        else:
            decided = sum(runs.statuses[status] for status in OWN_END)
            rates = (_share(runs.statuses["accepted"], decided), _share(runs.escalated, decided))
        return Group(
            group=name,
            runs=runs.statuses.total(),
            delegated=runs.delegated,
            statuses=dict(runs.statuses),
            attempts=tried,
            skipped=skipped,
            accepted=accepted,
            escalated=escalated,
            failed=failed,
            acceptance_rate=rates[0],
            escalation_rate=rates[1],
            errors=dict(counted.errors.most_common()),
            causes=dict(counted.causes.most_common()),
            warm_share=_share(counted.warm, counted.probed),
            latency=counted.times.latency(counted.times.whole if of_attempts else runs.durations),
            usage=counted.tokens.usage(),
            judge_usage=counted.judge_tokens.usage(),
            cost_usd=counted.cost_usd,
            judge_cost_usd=counted.judge_cost_usd,
            cost_unknown=counted.cost_unknown,
            saved=saved,
            speculation=None if of_attempts else runs.speculation,
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
