from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.cli.timeline import bar
from hyperguild.domain.phases import Phase, longest_ms, phases, phases_used
from hyperguild.domain.records import Attempt, ErrorInfo


def attempt(**fields: object) -> Attempt:
    given_fields: dict[str, object] = {
        "attempt_id": "a",
        "position": 0,
        "model": "phi4",
        "tier": "local",
        "endpoint": "swap",
        "verdict": "accept",
    }
    return Attempt.model_validate({**given_fields, **fields})


def test_what_no_measure_covers_went_into_the_answer() -> None:
    tried = attempt(duration_ms=5230, load_ms=3900, first_token_ms=200, verify_ms=310, answer="yes")
    assert phases(tried) == [("load", 3900), ("first_token", 200), ("answer", 820), ("verify", 310)]


def test_without_a_first_token_the_rest_was_waiting() -> None:
    error = ErrorInfo(kind="timeout", message="no first token within 60 s")
    tried = attempt(duration_ms=62_000, load_ms=2000, verdict="error", cause="timeout", error=error)
    assert phases(tried) == [("load", 2000), ("first_token", 60_000)]


def test_half_an_answer_of_a_broken_stream_counts_as_answering() -> None:
    error = ErrorInfo(kind="protocol", message="the stream ended without a finish reason")
    tried = attempt(duration_ms=900, verdict="error", cause="protocol", error=error, answer="The f")
    assert phases(tried) == [("answer", 900)]


def test_measures_that_exceed_the_whole_are_kept() -> None:
    assert phases(attempt(duration_ms=100, load_ms=99, first_token_ms=2)) == [
        ("load", 99),
        ("first_token", 2),
    ]


def test_a_skipped_tier_has_no_bar() -> None:
    skipped = attempt(verdict="skip", cause="cold")
    assert phases(skipped) == []
    assert bar(phases(skipped), 1000, 20) == []


def test_bars_have_one_scale() -> None:
    assert bar([("answer", 1000)], 4000, 40) == [("answer", 10)]
    assert bar([("answer", 4000)], 4000, 40) == [("answer", 40)]


def test_cells_go_by_largest_remainder() -> None:
    assert bar([("load", 500), ("answer", 260), ("verify", 240)], 1000, 10) == [
        ("load", 5),
        ("answer", 3),
        ("verify", 2),
    ]


def test_a_short_attempt_still_shows() -> None:
    assert bar([("first_token", 1), ("answer", 2)], 600_000, 40) == [("answer", 1)]


def test_the_longest_attempt_sets_the_scale() -> None:
    assert longest_ms([attempt(duration_ms=10), attempt(duration_ms=70), attempt(verdict="skip")]) == 70
    assert longest_ms([]) == 0


def test_the_legend_explains_only_what_is_drawn() -> None:
    tried = [attempt(duration_ms=10, verify_ms=4, answer="x"), attempt(duration_ms=9, load_ms=9)]
    assert phases_used(tried) == ["load", "answer", "verify"]


PHASES: list[Phase] = ["load", "first_token", "answer", "verify"]


@given(
    spent=st.lists(st.integers(1, 10**7), min_size=1, max_size=4),
    longer=st.integers(0, 10**7),
    cells=st.integers(5, 60),
)
def test_a_bar_has_its_share_of_the_cells(spent: list[int], longer: int, cells: int) -> None:
    longest = sum(spent) + longer
    drawn = bar(list(zip(PHASES, spent, strict=False)), longest, cells)
    length = sum(count for _, count in drawn)
    assert 1 <= length <= cells
    assert length == pytest.approx(cells * sum(spent) / longest, abs=1)
    assert [phase for phase, _ in drawn] == [phase for phase in PHASES if phase in dict(drawn)]
    shares = dict(zip(PHASES, spent, strict=False))
    for phase, count in drawn:
        assert count == pytest.approx(length * shares[phase] / sum(spent), abs=1)
