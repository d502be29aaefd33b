"""Limits that runs share: what may be spent, what was, and why a spending is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from hyperguild.domain.chain import Budget

Unit = Literal["cost_usd", "tokens", "attempts"]
Scope = Literal["run", "session", "day"]

UNITS: Final[tuple[Unit, ...]] = ("cost_usd", "tokens", "attempts")


@dataclass(frozen=True, slots=True)
class Amount:
    """What is asked for, or was used. `cost_usd` None: nobody knows. Tokens are those in and out together."""

    cost_usd: float | None = 0.0
    tokens: int = 0
    attempts: int = 0

    def of(self, unit: Unit) -> float | None:
        """Return how much of the unit it is; None where that is not known."""
        match unit:
            case "cost_usd":
                return self.cost_usd
            case "tokens":
                return self.tokens
            case "attempts":
                return self.attempts


@dataclass(frozen=True, slots=True)
class Allotment:
    """What all runs of a session, or of a day, may spend together; None is no limit."""

    cost_usd: float | None = None
    tokens: int | None = None
    attempts: int | None = None

    def limits(self) -> Iterator[tuple[Unit, float]]:
        """Yield each limit that there is."""
        given: dict[Unit, float | None] = {
            "cost_usd": self.cost_usd,
            "tokens": self.tokens,
            "attempts": self.attempts,
        }
        for unit, limit in given.items():
            if limit is not None:
                yield unit, limit

    def __bool__(self) -> bool:
        """Tell whether there is any limit."""
        return any(True for _ in self.limits())


@dataclass(frozen=True, slots=True)
class Limits:
    """`limits:` of chains.yaml. `run` is in the budget of every chain already."""

    run: Budget = field(default_factory=Budget)
    session: Allotment = field(default_factory=Allotment)
    day: Allotment = field(default_factory=Allotment)

    @property
    def shared(self) -> bool:
        """Whether runs have to reckon with each other."""
        return bool(self.session) or bool(self.day)

    def each(self) -> Iterator[tuple[Scope, Unit, float]]:
        """Yield every limit that runs share."""
        scopes: dict[Scope, Allotment] = {"session": self.session, "day": self.day}
        for scope, allotment in scopes.items():
            for unit, limit in allotment.limits():
                yield scope, unit, limit


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands: what was spent of it, and what is reserved by calls under way."""

    scope: Scope
    unit: Unit
    limit: float
    spent: float = 0.0
    reserved: float = 0.0

    @property
    def left(self) -> float:
        """What may still be spent; never below 0."""
        return max(self.limit - self.spent - self.reserved, 0.0)

    @property
    def name(self) -> str:
        """The limit in words: `the day's limit of $5`."""
        return f"the {self.scope}'s limit of {amount_in_words(self.unit, self.limit)}"

    @property
    def text(self) -> str:
        """The limit and what is left of it: `the day's limit of $5: $0.12 left`."""
        left = _dollars(self.left) if self.unit == "cost_usd" else f"{self.left:.0f}"
        return f"{self.name}: {left} left"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A spending that a limit does not allow; `asked` None: what it would take is not known."""

    standing: Standing
    asked: float | None

    def text(self, who: str) -> str:
        """Return it in words; `who` asks: `this call`."""
        if self.asked is None:
            return f"{self.standing.name} cannot be held: {who} has no price"
        told = self.standing.text
        match self.standing.unit:
            case "cost_usd":
                return f"{told}, {who} may cost up to {_dollars(self.asked)}"
            case "tokens":
                return f"{told}, {who} may use up to {self.asked:.0f}"
            case "attempts":
                return told


def amount_in_words(unit: Unit, amount: float) -> str:
    """Return an amount with its unit: `$5`, `20000 tokens`, `1 attempt`."""
    match unit:
        case "cost_usd":
            return f"${amount:.4g}"
        case "tokens":
            return f"{amount:.0f} tokens"
        case "attempts":
            return f"{amount:.0f} attempt{'' if amount == 1 else 's'}"


def _dollars(usd: float) -> str:
    """Return a sum with cents, and with more digits where it is small."""
    return "$0" if usd == 0 else f"${usd:.2f}" if usd >= 1 or round(usd, 2) == usd else f"${usd:.3g}"
