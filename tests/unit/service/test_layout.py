from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.records import Attempt, RunResult, StoredRun
from hyperguild.domain.usage import Usage
from hyperguild.service.review.difference import CONTEXT_LINES, DiffLine, difference
from hyperguild.service.review.run_view import BAR_UNITS, run_view
from hyperguild.service.review.shown import MAX_CHARS, percent, shown, tokens

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def joined(lines: tuple[DiffLine, ...], kind: str) -> list[str]:
    return ["".join(line.parts) for line in lines if line.kind in {"same", kind}]


TEXTS = st.lists(st.sampled_from(["one", "two words", "two words more", "", "three\tand"]), max_size=6).map(
    "\n".join
)


@given(TEXTS, TEXTS)
def test_a_difference_holds_both_texts(old: str, new: str) -> None:
    found = difference(old, new)
    assert not found.cut
    if not any(line.kind == "fold" for line in found.lines):
        assert joined(found.lines, "less") == old.split("\n")
        assert joined(found.lines, "more") == new.split("\n")
    assert found.is_none == (old == new)


def test_a_changed_word_is_marked_within_its_line() -> None:
    found = difference("the total is rounded twice\n", "the total is rounded once\n")
    assert found.lines[0] == DiffLine("less", ("the total is rounded ", "twice"))
    assert found.lines[1] == DiffLine("more", ("the total is rounded ", "once"))


@pytest.mark.parametrize(("lines", "words"), [(1400, 90), (1500, 1)])
def test_answers_that_repeat_themselves_are_compared_in_bounded_time(lines: int, words: int) -> None:
    draw = random.Random(1)  # noqa: S311  # repeatable

    def answer() -> str:
        return "\n".join(" ".join(draw.choices("abcdefgh", k=words)) for _ in range(lines))

    old, new = answer(), answer()
    began = time.monotonic()
    found = difference(old, new)
    assert time.monotonic() - began < 20  # minutes, where every word is compared with every other
    assert joined(found.lines, "less") == old.split("\n")


def test_lines_far_from_a_change_are_folded() -> None:
    same = [f"line {number}" for number in range(50)]
    found = difference("\n".join([*same, "old"]), "\n".join([*same, "new"]))
    assert found.lines[0] == DiffLine("fold", folded=50 - CONTEXT_LINES)
    assert len(found.lines) == 1 + CONTEXT_LINES + 2


def test_a_long_text_is_compared_at_its_beginning_only() -> None:
    long = "\n".join(map(str, range(5000)))
    found = difference(long, long + "\nmore")
    assert found.cut
    assert found.is_none


MOMENTS = st.integers(-5000, 10**9).map(lambda ms: NOW + timedelta(milliseconds=ms))
TIMES = st.one_of(st.none(), st.integers(0, 10_000_000))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "load_ms": TIMES,
                "first_token_ms": TIMES,
                "verify_ms": TIMES,
                "duration_ms": st.integers(0, 10_000_000),
                "started_at": st.one_of(
                    st.none(), st.integers(-5000, 10**9).map(lambda ms: NOW + timedelta(milliseconds=ms))
                ),
            }
        ),
        max_size=5,
    )
)
def test_bars_stay_within_their_scale(attempts: list[dict[str, Any]]) -> None:
    known = {"model": "m", "tier": "local", "endpoint": "e", "verdict": "accept", "answer": "x"}
    made = tuple(
        Attempt.model_validate(known | {"attempt_id": str(number), "position": number} | fields)
        for number, fields in enumerate(attempts)
    )
    result = RunResult(run_id="r", session_id="s", skill="k", chain="c", status="accepted", attempts=made)
    view = run_view(StoredRun(result=result, task="t", created_at=NOW), {})
    for one in view.attempts:
        end = 0.0
        for segment in one.bar:
            assert segment.width > 0
            assert segment.x >= 0
            assert segment.x + segment.width <= BAR_UNITS + 0.2
            assert segment.x >= end - 20  # the thinnest are drawn wider than they are
            end = segment.x + segment.width


def test_unseen_characters_stand_out_and_markup_is_text() -> None:
    assert str(shown("a\u202eb<i>\r\n\ttab\r")) == (
        'a<span class="unseen">\\u202e</span>b&lt;i&gt;\n\ttab<span class="unseen">\\u000d</span>'
    )


@given(st.text(alphabet=st.characters(), max_size=80))
def test_no_text_becomes_markup(text: str) -> None:
    made = str(shown(text)).replace('<span class="unseen">', "").replace("</span>", "")
    assert "<" not in made
    assert ">" not in made
    made.encode()


def test_a_long_text_says_how_much_is_left_out() -> None:
    made = shown("x" * (MAX_CHARS + 1234))
    assert "1,234 more characters" in made
    assert made.count("x") < MAX_CHARS + 10


@pytest.mark.parametrize(
    ("share", "told"), [(None, "–"), (0.0, "0 %"), (0.034, "3.4 %"), (0.5, "50 %"), (1.0, "100 %")]
)
def test_shares_in_words(share: float | None, told: str) -> None:
    assert percent(share) == told


def test_tokens_in_words() -> None:
    usage = Usage(input_tokens=1204, output_tokens=88, cached_input_tokens=900)
    assert tokens(usage) == "1,204 (900 cached) → 88 tokens"
