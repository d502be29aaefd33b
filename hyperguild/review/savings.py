"""What chains saved: their runs against the same runs answered by the chain's last tier at once.

What a run would have cost is the mean cost of the last tier's answers (accepted or refused, their judge
included) on record for that chain and skill, among the runs looked at. Where there is none, it is the last
tier's listed price for the tokens of the run's accepted attempt. What was saved is this cost less what the
run really cost: its own attempts, judges and hooks; runs that it delegated are compared by themselves.

Only runs that came to an end of their own count, with at least one attempt that was tried. Runs for which
either cost is not known are counted, never guessed. Answers on record of a last tier are mostly those to
tasks that the tiers before it failed at: where these are longer than others, the mean is too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hyperguild.domain.chain import Chain, Model
from hyperguild.domain.records import Record, RunStatus
from hyperguild.domain.review import AttemptFact, RunFact
from hyperguild.domain.usage import total_cost_usd

OWN_END: frozenset[RunStatus] = frozenset({"accepted", "best_effort", "exhausted", "budget_exceeded"})
"""Runs that nobody stopped, and that are not under way."""


class Saved(Record):
    """What runs saved, in USD; null where that is known of none of them. It may be negative.

    `recorded` runs are compared with answers on record, `listed` ones with the listed price; of `unknown`
    ones it is not known.
    """

    usd: float | None = None
    recorded: int = 0
    listed: int = 0
    unknown: int = 0


@dataclass(slots=True)
class _Paid:
    """Costs of the last tier's answers."""

    answers: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class _Compared:
    """Runs of one group, chain and skill. Sums of those whose cost is known, and of those with a price."""

    runs: int = 0
    cost_usd: float = 0.0
    priced: int = 0
    priced_cost_usd: float = 0.0
    list_usd: float = 0.0
    unknown: int = 0

    def saved(self, paid: _Paid | None) -> Saved:
        """Return what they saved, given what answers of the last tier cost."""
        if paid is not None:
            usd = self.runs * paid.usd / paid.answers - self.cost_usd if self.runs else None
            return Saved(usd=usd, recorded=self.runs, unknown=self.unknown)
        usd = self.list_usd - self.priced_cost_usd if self.priced else None
        return Saved(usd=usd, listed=self.priced, unknown=self.unknown + self.runs - self.priced)


class Savings:
    """Takes runs one by one, and keeps sums only: as many as there are groups, chains and skills.

    `last_tiers` are the last tiers' models by chain.
    """

    def __init__(self, last_tiers: Mapping[str, Model]) -> None:
        self._last_tiers = last_tiers
        self._paid: dict[tuple[str, str], _Paid] = {}
        self._compared: dict[tuple[str, str, str], _Compared] = {}

    def add(self, run: RunFact, group: str) -> None:
        """Count the run, as one of the group."""
        last = self._last_tiers.get(run.chain)
        if last is not None:
            self._learn(run, last)
        tried = [attempt for attempt in run.attempts if attempt.verdict != "skip"]
        if run.status not in OWN_END or not tried:
            return
        compared = self._compared.setdefault((group, run.chain, run.skill), _Compared())
        cost_usd = total_cost_usd(map(attempt_cost_usd, tried))
        if cost_usd is None:
            compared.unknown += 1
            return
        compared.runs += 1
        compared.cost_usd += cost_usd
        accepted = next((one for one in reversed(tried) if one.verdict == "accept"), None)
        list_usd = last.cost_usd(accepted.usage) if last is not None and accepted is not None else None
        if list_usd is not None:
            compared.priced += 1
            compared.priced_cost_usd += cost_usd
            compared.list_usd += list_usd

    def of(self, group: str) -> Saved:
        """Return what the runs of one group saved."""
        return self._sum(key for key in self._compared if key[0] == group)

    def whole(self) -> Saved:
        """Return what all runs saved."""
        return self._sum(self._compared)

    def _learn(self, run: RunFact, last: Model) -> None:
        for attempt in run.attempts:
            cost_usd = attempt_cost_usd(attempt)
            if (
                attempt.model == last.name
                and attempt.verdict in {"accept", "escalate"}
                and cost_usd is not None
            ):
                paid = self._paid.setdefault((run.chain, run.skill), _Paid())
                paid.answers += 1
                paid.usd += cost_usd

    def _sum(self, keys: Iterable[tuple[str, str, str]]) -> Saved:
        parts = [self._compared[key].saved(self._paid.get(key[1:])) for key in keys]
        known = [part.usd for part in parts if part.usd is not None]
        return Saved(
            usd=sum(known) if known else None,
            recorded=sum(part.recorded for part in parts),
            listed=sum(part.listed for part in parts),
            unknown=sum(part.unknown for part in parts),
        )


def last_tiers(chains: Iterable[Chain]) -> dict[str, Model]:
    """Return the model of each chain's last tier, by the chain's name."""
    return {chain.name: chain.tiers[-1].model for chain in chains}


def attempt_cost_usd(attempt: AttemptFact) -> float | None:
    """Return what an attempt cost with its judge and hooks, less what it delegated; None if not known."""
    return total_cost_usd((attempt.cost_usd, attempt.judge_cost_usd, attempt.hooks_cost_usd))
