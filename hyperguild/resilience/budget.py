"""The rule of a budget: what is asked for is reserved before it is spent, and settled afterwards. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hyperguild.domain.limits import Amount, Refusal, Standing

ROUNDING_USD = 1e-9
"""Sums of floats are off by less; so much may be lacking."""


def refusal(ask: Amount, standings: Sequence[Standing]) -> Refusal | None:
    """Return which limit does not allow it, the first of them; None: it is granted."""
    return next(iter(refusals(ask, standings)), None)


def refusals(ask: Amount, standings: Sequence[Standing]) -> tuple[Refusal, ...]:
    """Return every limit that does not allow it.

    What takes nothing of a unit is never over its limit, not even over a spent one; what may take nobody
    knows how much of a limited unit is refused.
    """
    asked = [(standing, ask.of(standing.unit)) for standing in standings]
    return tuple(
        Refusal(standing, amount)
        for standing, amount in asked
        if amount is None or (amount > 0 and amount > standing.left + ROUNDING_USD)
    )


def calls_paid_for(left_usd: float | None, each_usd: float | None, most: int) -> int:
    """Return how many calls, `most` at the most, what is left pays for; None: no limit, or no price."""
    if left_usd is None or not each_usd:
        return most
    return max(min(most, int((left_usd + ROUNDING_USD) / each_usd)), 0)


class Account:
    """What the calls of one process spend of the same limits. Neither waits nor is safe for threads.

    Sums of spent and reserved amounts stay within every limit as long as nobody settles for more than was
    reserved: one who did has spent it, and nothing is granted until there is room again.
    """

    def __init__(self, standings: Sequence[Standing]) -> None:
        self._standings = tuple(standings)
        self._open: dict[str, Amount] = {}

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How each limit stands now."""
        return self._standings

    def reserve(self, key: str, ask: Amount) -> Refusal | None:
        """Set the amount aside under a key of its own, or return why it cannot be."""
        if key in self._open:
            raise ValueError(f"{key} is reserved already")
        refused = refusal(ask, self._standings)
        if refused is None:
            self._open[key] = ask
            self._add(ask, reserved=1, spent=0)
        return refused

    def settle(self, key: str, used: Amount) -> None:
        """Put what was used in the place of what was reserved; nothing happens where nothing was."""
        ask = self._open.pop(key, None)
        if ask is not None:
            self._add(ask, reserved=-1, spent=0)
            self._add(used, reserved=0, spent=1)

    def count(self, used: Amount) -> None:
        """Count what was used without having been reserved here: by an earlier process."""
        self._add(used, reserved=0, spent=1)

    def _add(self, amount: Amount, *, reserved: int, spent: int) -> None:
        self._standings = tuple(
            replace(
                one,
                reserved=one.reserved + reserved * (amount.of(one.unit) or 0),
                spent=one.spent + spent * (amount.of(one.unit) or 0),
            )
            for one in self._standings
        )
