"""The order of review: nothing lost, nothing twice, and what teaches more comes first."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.review import AttemptRow
from hyperguild.review.queue import in_order, lesson

SCORES = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def rows(draw: st.DrawFn) -> AttemptRow:
    return AttemptRow(
        attempt_id=f"a{draw(st.integers(0, 30)):04}",
        run_id="r",
        session_id="s",
        skill="review",
        chain="code",
        position=0,
        model="phi4",
        tier="local",
        verdict=draw(st.sampled_from(["accept", "escalate"])),
        score=draw(SCORES),
        label=draw(st.sampled_from([None, None, "good", "bad", "disputed"])),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def row(verdict: str, score: float | None, label: str | None = None, number: int = 0) -> AttemptRow:
    return AttemptRow.model_validate(
        {
            "attempt_id": f"a{number:04}",
            "run_id": "r",
            "session_id": "s",
            "skill": "review",
            "chain": "code",
            "position": 0,
            "model": "phi4",
            "tier": "local",
            "verdict": verdict,
            "score": score,
            "label": label,
        }
    )


@given(st.lists(rows()))
def test_each_attempt_once_and_the_order_of_candidates_does_not_matter(candidates: list[AttemptRow]) -> None:
    single = list({one.attempt_id: one for one in candidates}.values())
    ordered = in_order(single)
    assert sorted(one.attempt_id for one in ordered) == sorted(one.attempt_id for one in single)
    assert in_order(reversed(single)) == ordered
    assert len(in_order([*single, *single])) == len(single)


@given(st.lists(rows()))
def test_what_teaches_more_comes_first_then_what_is_newer(candidates: list[AttemptRow]) -> None:
    ordered = in_order(candidates)
    for first, second in pairwise(ordered):
        assert (lesson(first), first.attempt_id) > (lesson(second), second.attempt_id)


@given(st.floats(0, 1), st.floats(0, 1))
def test_doubt_teaches(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert lesson(row("accept", low)) >= lesson(row("accept", high))
    assert lesson(row("escalate", high)) >= lesson(row("escalate", low))


@given(rows(), st.sampled_from(["accept", "escalate"]), SCORES)
def test_labels_at_odds_with_the_verdict_come_before_all_else(
    other: AttemptRow, verdict: str, score: float | None
) -> None:
    at_odds = row(verdict, score, "bad" if verdict == "accept" else "good")
    contradicts = other.label in {"good", "bad"} and (other.label == "good") != (other.verdict == "accept")
    assert contradicts or lesson(at_odds) > lesson(other)


def test_the_order_in_which_a_person_meets_them() -> None:
    expected = [
        row("accept", 0.95, "bad", 1),
        row("escalate", 0.6, "good", 2),
        row("accept", 0.9, "disputed", 3),
        row("escalate", 0.69, None, 4),
        row("accept", 0.7, None, 6),
        row("accept", 0.7, None, 5),
        row("escalate", 0.1, None, 7),
        row("accept", None, None, 8),
        row("accept", 0.9, "good", 9),
    ]
    assert in_order(reversed(expected)) == expected
