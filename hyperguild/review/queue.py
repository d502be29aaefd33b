"""In which order attempts are reviewed: those first that teach most about the judge."""

from __future__ import annotations

from collections.abc import Iterable

from hyperguild.domain.review import AttemptRow

AT_ODDS = 2.0
DISPUTED = 1.5
UNJUDGED = -1.0
SETTLED = -2.0


def in_order(candidates: Iterable[AttemptRow]) -> list[AttemptRow]:
    """Return each attempt once, by what it teaches, the newest of equals first."""
    rows = {row.attempt_id: row for row in candidates}.values()
    # Ids are of version 7: they sort by age.
    return sorted(rows, key=lambda row: (lesson(row), row.attempt_id), reverse=True)


def lesson(row: AttemptRow) -> float:
    """Return how much it teaches to know whether the answer is good.

    From 2 to 3: a label says otherwise than the verdict; most where the judge was surest. 1.5: reviewers
    disagree. From 0 to 1: the judge was near to saying otherwise, at 1 its score contradicts its verdict:
    accepted with 0, refused with 1. -1: nobody judged it. -2: somebody said so already.
    """
    score = row.score
    if row.label == "disputed":
        return DISPUTED
    accepted = row.verdict == "accept"
    if row.label is not None:
        if (row.label == "good") == accepted:
            return SETTLED
        sure = 0.0 if score is None else score if accepted else 1.0 - score
        return AT_ODDS + sure
    if score is None:
        return UNJUDGED
    return 1.0 - score if accepted else score
