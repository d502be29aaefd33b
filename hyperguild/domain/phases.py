"""Where the time of an attempt went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hyperguild.domain.records import Attempt

Phase = Literal["load", "first_token", "answer", "verify"]

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


def longest_ms(attempts: Sequence[Attempt]) -> int:
    """Return the length of the longest bar, in milliseconds."""
    return max((sum(spent_ms for _, spent_ms in phases(attempt)) for attempt in attempts), default=0)


def phases_used(attempts: Sequence[Attempt]) -> list[Phase]:
    """Return the phases that a legend has to explain, in the order in which they happen."""
    used = {phase for attempt in attempts for phase, _ in phases(attempt)}
    return [phase for phase in NAMES if phase in used]
