"""Where the time of a chain went: a bar for each attempt, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.domain.phases import Phase

GLYPHS: dict[Phase, str] = {"load": "▒", "first_token": "·", "answer": "█", "verify": "▓"}
STYLES: dict[Phase, str] = {"load": "yellow", "first_token": "dim", "answer": "cyan", "verify": "magenta"}


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
