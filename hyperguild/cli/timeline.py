"""Where the time of a chain went: a bar for each attempt, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hyperguild.domain.records import Attempt

Phase = Literal["load", "first_token", "answer", "verify"]

GLYPHS: dict[Phase, str] = {"load": "▒", "first_token": "·", "answer": "█", "verify": "▓"}
STYLES: dict[Phase, str] = {"load": "yellow", "first_token": "dim", "answer": "cyan", "verify": "magenta"}
NAMES: dict[Phase, str] = {
    "load": "loading",
    "first_token": "waiting for the first token",
    "answer": "answering",
    "verify": "verifying",
}


def phases(attempt: Attempt) -> list[tuple[Phase, int]]:
    """Return what an attempt spent its time on, in order, in milliseconds; phases of no length are left out.

    What no measure covers went into answering where a first token came, else into waiting for one.
    """
    known: dict[Phase, int] = {
        "load": attempt.load_ms or 0,
        "first_token": attempt.first_token_ms or 0,
        "answer": 0,
        "verify": attempt.verify_ms or 0,
    }
    rest = max(attempt.duration_ms - sum(known.values()), 0)
    answered = attempt.first_token_ms is not None or bool(attempt.answer)
    known["answer" if answered else "first_token"] += rest
    return [(phase, spent_ms) for phase, spent_ms in known.items() if spent_ms > 0]


def bar(spent: Sequence[tuple[Phase, int]], longest_ms: int, cells: int) -> list[tuple[Phase, int]]:
    """Return how many cells each phase gets, `cells` standing for `longest_ms`; cells come in whole.

    The bar as a whole is rounded, to one cell at least, and its cells go to the phases by largest remainder.
    """
    total_ms = sum(spent_ms for _, spent_ms in spent)
    if total_ms <= 0:
        return []
    length = max(round(cells * total_ms / max(longest_ms, total_ms)), 1)
    shares = [length * spent_ms / total_ms for _, spent_ms in spent]
    given = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: given[index] - shares[index])
    for index in by_remainder[: length - sum(given)]:
        given[index] += 1
    return [(phase, count) for (phase, _), count in zip(spent, given, strict=True) if count]


def longest_ms(attempts: Sequence[Attempt]) -> int:
    """Return the length of the longest bar, in milliseconds."""
    return max((sum(spent_ms for _, spent_ms in phases(attempt)) for attempt in attempts), default=0)


def phases_used(attempts: Sequence[Attempt]) -> list[Phase]:
    """Return the phases that a legend has to explain, in the order in which they happen."""
    used = {phase for attempt in attempts for phase, _ in phases(attempt)}
    return [phase for phase in GLYPHS if phase in used]
