"""The corpora: real-looking texts that must not trip (`clean`), and degenerate ones that must (`trips`).

Files named `greeting_…` and `answer_…` are whole answers after a step with tools, the others stream in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperguild.agent.greeting import is_greeting
from hyperguild.agent.repetition import Repetition, RepetitionWatch

CORPORA = Path(__file__).parent / "corpora"
CLEAN = sorted((CORPORA / "clean").glob("*.txt"))
TRIPS = sorted((CORPORA / "trips").glob("*.txt"))
LOOPS = [path for path in TRIPS if not path.name.startswith("greeting_")]
GREETINGS = [path for path in TRIPS if path.name.startswith("greeting_")]
LONGEST_DELTAS = (1, 5, 60, 100_000)


def deltas(text: str, longest: int, seed: str) -> Iterator[str]:
    """Cut a text into random pieces of 1 to `longest` characters."""
    drawn = random.Random(seed)  # noqa: S311 - not a secret
    start = 0
    while start < len(text):
        size = drawn.randint(1, longest)
        yield text[start : start + size]
        start += size


def streamed(text: str, longest: int, seed: str = "") -> Repetition | None:
    watch = RepetitionWatch()
    found: Repetition | None = None
    for delta in deltas(text, longest, seed):
        found = watch.feed(delta)
    return found


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("path", CLEAN, ids=lambda path: path.stem)
def test_f1_what_real_texts_repeat_does_not_trip(path: Path) -> None:
    for longest in LONGEST_DELTAS:
        assert streamed(text_of(path), longest, path.stem) is None


@pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.stem)
def test_f1_a_loop_trips_however_it_is_cut_into_deltas(path: Path) -> None:
    found = {streamed(text_of(path), longest, path.stem) for longest in LONGEST_DELTAS}
    assert len(found) == 1
    (only,) = found
    assert only is not None
    assert only.times >= 3
    assert only.chars >= 150
    assert only.unit in text_of(path)


@pytest.mark.parametrize("path", CLEAN, ids=lambda path: path.stem)
def test_f2_an_answer_is_no_greeting(path: Path) -> None:
    assert not is_greeting(text_of(path))


@pytest.mark.parametrize("path", GREETINGS, ids=lambda path: path.stem)
def test_f2_a_greeting_or_an_offer_of_help_is_one(path: Path) -> None:
    assert is_greeting(text_of(path))


def test_f1_f2_the_corpora_are_large_enough_and_judged_without_a_miss() -> None:
    false_alarms = [
        path.stem for path in CLEAN if is_greeting(text_of(path)) or streamed(text_of(path), 7) is not None
    ]
    missed = [path.stem for path in LOOPS if streamed(text_of(path), 7) is None]
    missed += [path.stem for path in GREETINGS if not is_greeting(text_of(path))]
    print(  # noqa: T201 - the figures are to be seen
        f"\nmust not trip: {len(CLEAN)} texts, {len(false_alarms)} tripped; must trip: {len(TRIPS)} texts "
        f"({len(LOOPS)} loops, {len(GREETINGS)} greetings), {len(missed)} missed"
    )
    assert len(CLEAN) >= 40
    assert len(LOOPS) >= 40
    assert len(GREETINGS) >= 10
    assert (false_alarms, missed) == ([], [])
