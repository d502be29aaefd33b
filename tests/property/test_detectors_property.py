"""Properties of the detectors: repetition finds what a slow and simple reading of the rule finds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hyperguild.agent.greeting import is_greeting
from hyperguild.agent.repeated_unit import BEFORE_CHARS, least_chars
from hyperguild.agent.repetition import LEAST_CHARS, LEAST_TIMES, LONGEST_UNIT, RepetitionWatch

ALPHABETS = ("ab", "a-", "word ", "0, \n", "I see. ", "é漢🎉")


@st.composite
def stretches(draw: st.DrawFn) -> str:
    """A stretch of one unit, somewhat more or less than what trips."""
    alphabet = draw(st.sampled_from(ALPHABETS))
    period = draw(st.sampled_from((1, 2, 3, 7, 30, 49, 50, 51, 60, 99, 130)))
    unit = "".join(draw(st.lists(st.sampled_from(alphabet), min_size=period, max_size=period)))
    least = max(LEAST_TIMES * period, LEAST_CHARS)
    chars = draw(st.sampled_from((0, 1, 10, 49, 50, 100, least - 1, least, least + 1, least + 60, 640)))
    return (unit * (chars // period + 1))[:chars]


WORDS = ("i", "you", "help", "how", "can", "what", "would", "like", "to", "if", "have", "a", ",", "!", "and")
TEXTS = st.lists(stretches(), min_size=1, max_size=5).map("".join)


def slowly(text: str) -> int | None:
    """Return how long the text was when its tail first was a repetition that counts."""
    first: int | None = None
    for period in range(1, min(LONGEST_UNIT, len(text) - 1) + 1):
        start = 0
        for end in range(period + 1, len(text) + 1):
            if text[end - 1] != text[end - 1 - period]:
                start = end - period
            elif end - start == max(LEAST_TIMES * period, LEAST_CHARS):
                before = text[max(start - BEFORE_CHARS, 0) : start]
                least = least_chars(text[start : start + period], before=before, fenced=False)
                stop = start + max(end - start, least)
                run = text[start:stop]
                if len(run) == stop - start and run[period:] == run[:-period]:
                    first = min(stop, first or stop)
    return first


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_f1_finds_what_the_rule_says_at_the_very_character(text: str) -> None:
    watch = RepetitionWatch()
    found = next((end for end, one in enumerate(text, 1) if watch.feed(one) is not None), None)
    assert found == slowly(text)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_f1_deltas_do_not_matter(text: str, cuts: list[int]) -> None:
    pieces = RepetitionWatch()
    start = 0
    while start < len(text):
        size = cuts[start % len(cuts)]
        pieces.feed(text[start : start + size])
        start += size
    assert pieces.feed("") == RepetitionWatch().feed(text)


@settings(max_examples=200, deadline=None)
@given(unit=st.text(min_size=1, max_size=LONGEST_UNIT), head=st.text(max_size=300))
def test_f1_any_unit_trips_when_it_never_ends(unit: str, head: str) -> None:
    found = RepetitionWatch().feed(head + unit * (6_000 // len(unit) + 2))
    assert found is not None
    assert found.times >= LEAST_TIMES
    assert found.chars >= LEAST_CHARS


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=420))
def test_f2_any_text_is_judged_and_a_long_one_is_no_greeting(text: str) -> None:
    assert not (is_greeting(text) and len(text) >= 400)


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS)))
def test_f2_no_mixture_of_its_words_takes_long(words: list[str]) -> None:
    """A guard against patterns that backtrack without end: the time limit of the suite is the assertion."""
    is_greeting(" ".join(words)[:399])
