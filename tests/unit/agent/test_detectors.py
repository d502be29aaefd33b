"""The detectors at their bounds, and what follows a trip."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from hyperguild.agent.corrections import (
    MOST_FEEDBACK_CHARS,
    Correct,
    Stop,
    TripPolicy,
    correction,
)
from hyperguild.agent.detectors import Channel, Detectors, Trip
from hyperguild.agent.greeting import SHORT_CHARS, is_greeting
from hyperguild.agent.repetition import LONGEST_UNIT, Repetition, RepetitionWatch
from hyperguild.agent.tool_loops import PatchSpiral, RepeatedCall
from hyperguild.domain.tools import ToolCall, ToolResult

HELLO = "Hello! How can I help you today?"
SENTENCE = "I will now read the file. "


def unit_of(chars: int) -> str:
    """Return a unit of prose of that length that is no repetition of a shorter one."""
    drawn = random.Random(chars)  # noqa: S311 - not a secret
    return "".join(drawn.choice("abcdefghijklmnopqrst    ") for _ in range(chars - 3)) + "z. "


def tripped_at(text: str) -> int | None:
    watch = RepetitionWatch()
    return next((end for end, one in enumerate(text, 1) if watch.feed(one) is not None), None)


def found_in(text: str) -> Repetition | None:
    return RepetitionWatch().feed(text)


def call(name: str = "fs_read", **arguments: Any) -> ToolCall:
    return ToolCall("c1", name, arguments)


def result(text: str = "ok", *, failed: bool = False) -> ToolResult:
    return ToolResult("c1", "fs_read", text, is_error=failed)


def taken(calls: RepeatedCall, texts: Sequence[str]) -> list[int | None]:
    return [calls.take(call(path="a"), result(text)) for text in texts]


@pytest.mark.parametrize("chars", [3, 10, 49, 50, 51, 75, 100, 133, 199, 399, LONGEST_UNIT])
@pytest.mark.parametrize("before", [0, 1, 49, 50, 777, 5000])
def test_f1_trips_at_the_third_unit_and_the_150th_character(chars: int, before: int) -> None:
    head = "".join(random.Random(before).choices("uvwxyz", k=before))  # noqa: S311 - not a secret
    unit = unit_of(chars)
    least = max(3 * chars, 150)
    text = head + (unit * 150)[:least]
    assert tripped_at(text) == len(text)
    assert tripped_at(text[:-1] + "#") is None


def test_f1_a_unit_of_401_characters_is_no_repetition() -> None:
    assert found_in(unit_of(LONGEST_UNIT) * 3) is not None
    assert found_in(unit_of(LONGEST_UNIT + 1) * 20) is None


def test_f1_a_ruler_within_the_unit_does_not_hide_it() -> None:
    unit = "Let me see what it says now:\n" + "-" * 120
    for before in range(50):
        assert tripped_at("#" * before + unit * 3) == before + 3 * len(unit)


def test_f1_knows_what_stood_before_a_long_unit_at_any_place_of_a_long_text() -> None:
    drawn = random.Random(2)  # noqa: S311 - not a secret
    base64 = "".join(drawn.choices("ABCDEFabcdef0123456789+/", k=1_500))
    for before in range(1_300, 1_450):
        found = found_in(base64[:before] + base64[-LONGEST_UNIT:][::-1] * 12)
        assert found is not None
        assert found.chars == 4_000


def test_f1_tells_the_unit_as_it_stood_first() -> None:
    assert found_in("So:\n\n" + "Read on now. " * 20) == Repetition("Read on now. ", 11, 150)


def test_f1_says_so_again_once_it_has_tripped() -> None:
    watch = RepetitionWatch()
    found = watch.feed(SENTENCE * 9)
    assert found is not None
    assert watch.feed(" And that is that.") == found


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("-" * 10_000, 4_000),
        ("\n" * 10_000, 1_000),
        ("0, " * 9_000, 4_000),
        ("    x = x + 1\n" * 900, 600),
    ],
)
def test_f1_what_real_texts_repeat_trips_when_it_never_ends(text: str, most: int) -> None:
    assert tripped_at(text) == most


def test_f1_equal_lines_are_let_pass_longer_within_a_fence() -> None:
    lines = "Waiting for the database\n" * 8
    assert found_in(f"It said this:\n{lines}") is not None
    assert found_in(f"It said this:\n\n```\n{lines}```\n") is None
    assert found_in(f"It said this:\n\n```\nready\n```\nThat is to say:\n{lines}") is not None


def test_f1_reasoning_and_the_arguments_of_each_call_are_watched_by_themselves() -> None:
    detectors = Detectors()
    detectors.start_step()
    thrice = SENTENCE * 3
    channels: list[tuple[Channel, int]] = [
        ("answer", 0),
        ("reasoning", 0),
        ("arguments", 0),
        ("arguments", 1),
    ]
    for channel, index in channels:
        assert detectors.text(channel, thrice, index=index) is None
    trip = detectors.text("arguments", thrice, index=1)
    assert trip == Trip("repetition", SENTENCE, 5, "arguments")


def test_f1_begins_anew_at_every_step() -> None:
    detectors = Detectors()
    for _ in range(10):
        detectors.start_step()
        assert detectors.text("answer", SENTENCE * 3) is None


def test_f1_looks_at_a_bounded_tail_however_long_and_hard_the_text() -> None:
    drawn = random.Random(1)  # noqa: S311 - not a secret
    hard = [
        "".join("-" * drawn.randint(30, 120) + drawn.choice("xyz") for _ in range(400)),
        "".join("a" * 149 + "bcdefg"[i % 6] for i in range(200)),
        ("-" * 3_900 + "x") * 10,
        "".join(drawn.choices("ab", k=30_000)),
    ]
    for text in hard:
        watch = RepetitionWatch()
        for one in text:
            watch.feed(one)
            assert len(watch._text) < 4_000
            assert len(watch._runs) < 20


@pytest.mark.parametrize(
    ("text", "after_tools", "trips"),
    [(HELLO, True, True), (HELLO, False, False), ("The limit is 12.", True, False), ("", True, False)],
)
def test_f2_only_after_a_step_with_tools(text: str, after_tools: bool, trips: bool) -> None:
    trip = Detectors().answer(text, after_tools=after_tools)
    assert trip == (Trip("greeting", text) if trips else None)


def test_f2_a_long_answer_is_never_a_greeting() -> None:
    offers = "Feel free to ask. " * 22
    assert is_greeting(offers.ljust(SHORT_CHARS - 1))
    assert not is_greeting(offers.ljust(SHORT_CHARS))


@pytest.mark.parametrize(
    "text",
    [
        "The file is empty. How can I help you today?",
        "Hello! The file is empty.",
        "Let me know if you need anything else. The file is empty.",
        "Yes",
        "Sure.",
        "Hello world",
        "...",
    ],
)
def test_f2_one_clause_that_answers_is_enough(text: str) -> None:
    assert not is_greeting(text)


def test_f3_the_fourth_failed_write_of_one_path_trips() -> None:
    spiral = PatchSpiral()
    assert [spiral.take("a.py", failed=True) for _ in range(4)] == [None, None, None, 4]


def test_f3_a_success_takes_one_off_and_paths_are_counted_by_themselves() -> None:
    spiral = PatchSpiral()
    spiral.take("a.py", failed=False)
    for path in ("a.py", "b.py", "./a.py", "src/../a.py"):
        assert spiral.take(path, failed=True) is None
    assert spiral.take("a.py", failed=False) is None
    assert spiral.take("a.py", failed=True) is None
    assert spiral.take("a.py", failed=True) == 4


def test_f3_only_writes_that_ran_are_counted() -> None:
    detectors = Detectors()
    for number in range(9):
        fault = result(f"no such text ({number})", failed=True)
        assert detectors.result(call("fs_read", path="a"), fault, effect="read") is None
        assert detectors.result(call("fs_edit", path="a"), fault, effect=None) is None
        assert detectors.result(ToolCall("c1", "fs_edit", None, "{"), fault, effect="write") is None
    found = [
        detectors.result(call("fs_edit", path="a"), result(f"not found: {i}", failed=True), effect="write")
        for i in range(4)
    ]
    assert found == [None, None, None, Trip("patch_spiral", "a", 4)]


def test_f4_the_third_equal_result_trips_also_with_other_calls_between() -> None:
    calls = RepeatedCall()
    for _ in range(2):
        assert calls.take(call(path="a"), result("x")) is None
        assert calls.take(call(path="b"), result("x")) is None
        assert calls.take(call("fs_ls", path="a"), result("x")) is None
    assert calls.take(call(path="a"), result("x")) == 3


def test_f4_polling_does_not_trip_while_the_result_changes() -> None:
    assert taken(RepeatedCall(), ["red", "green", "red", "green", "red", "green"]) == [None] * 6
    assert taken(RepeatedCall(), ["10 %", "10 %", "20 %", "20 %", "10 %", "10 %"]) == [None] * 6
    assert taken(RepeatedCall(), ["red", "green", "green", "green"]) == [None, None, None, 3]


def test_f4_an_error_and_a_text_are_not_the_same_result() -> None:
    calls = RepeatedCall()
    found = [calls.take(call(path="a"), result("x", failed=failed)) for failed in (True, True, False)]
    assert found == [None, None, None]


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ('{"a": 1, "b": [1, {"c": null, "d": 2}]}', '{"b": [1, {"d": 2, "c": null}], "a": 1}', True),
        ('{"a": 1}', '{"a": 1.0}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 9007199254740993}', '{"a": 9007199254740992}', False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', False),
        ("{}", '{"a": null}', False),
        ('{"a": "é"}', '{"a": "\\u00e9"}', True),
    ],
)
def test_f4_arguments_are_compared_as_json(first: str, second: str, equal: bool) -> None:
    calls = RepeatedCall()
    for text in (first, second):
        calls.take(call(**json.loads(text)), result())
    assert (calls.take(call(**json.loads(first)), result()) == 3) == equal


def test_f4_calls_with_broken_arguments_are_compared_as_written() -> None:
    calls = RepeatedCall()
    broken = ToolCall("c1", "fs_read", None, raw='{"path": "\ud800', fault="unterminated string")
    assert [calls.take(broken, result(failed=True)) for _ in range(3)] == [None, None, 3]


def test_f5_everything_begins_anew_after_a_trip() -> None:
    detectors = Detectors()
    for _ in range(3):
        detectors.result(call("fs_edit", path="a"), result(str(_), failed=True), effect="write")
        detectors.result(call(path="a"), result(), effect="read")
    detectors.text("answer", SENTENCE * 5)
    detectors.reset()
    assert detectors.text("answer", SENTENCE) is None
    assert detectors.result(call("fs_edit", path="a"), result(failed=True), effect="write") is None
    assert detectors.result(call(path="a"), result(), effect="read") is None


TRIPS = [
    Trip("repetition", SENTENCE, 6, "answer"),
    Trip("repetition", "Wait, no. ", 15, "reasoning"),
    Trip("repetition", '{"a": 1}, ', 60, "arguments"),
    Trip("greeting", HELLO),
    Trip("patch_spiral", "src/app.py", 4),
    Trip("repeated_call", "fs_read", 3),
]


@pytest.mark.parametrize("second", TRIPS, ids=lambda trip: f"{trip.kind}-{trip.channel}")
@pytest.mark.parametrize("first", TRIPS, ids=lambda trip: f"{trip.kind}-{trip.channel}")
def test_f5_the_first_trip_corrects_and_the_second_ends_the_attempt(first: Trip, second: Trip) -> None:
    policy = TripPolicy()
    assert policy.take(first, "the text") == Correct(correction(first))
    ended = policy.take(second, "the last text")
    assert isinstance(ended, Stop)
    assert ended.cause == second.kind
    assert "the last text" in ended.feedback


@pytest.mark.parametrize("trip", TRIPS, ids=lambda trip: f"{trip.kind}-{trip.channel}")
def test_f5_a_correction_is_short_and_says_what_to_do(trip: Trip) -> None:
    message = correction(trip)
    assert len(message) < 400
    assert "{" not in message.replace(trip.subject.strip(), "")
    assert trip.kind == "greeting" or trip.subject.strip() in message
    assert message.endswith(".")


def test_f3_the_correction_says_to_read_the_file_and_write_it_whole() -> None:
    message = correction(Trip("patch_spiral", "src/app.py", 4))
    assert "Read the whole file" in message
    assert "write it whole" in message


def test_f5_a_correction_quotes_little_and_on_one_line() -> None:
    message = correction(Trip("repetition", "a {line}\n\x1b[2J" * 40, 3, "answer"))
    assert len(message) < 400
    assert "\n" not in message
    assert "\x1b" not in message
    assert "a {line} a {line}" in message


def test_f5_the_feedback_is_bounded_and_shows_a_repetition_once() -> None:
    policy = TripPolicy()
    policy.take(Trip("repeated_call", "fs_read", 3), "")
    text = "The cause is in the reader. " + SENTENCE * 500
    ended = policy.take(Trip("repetition", SENTENCE, 6), text)
    assert isinstance(ended, Stop)
    assert ended.feedback.endswith(
        "\nIts last text:\nThe cause is in the reader. I will now read the file. …"
    )
    assert "called" in ended.feedback


def test_f5_the_feedback_ends_with_the_end_of_a_long_last_text() -> None:
    policy = TripPolicy()
    policy.take(TRIPS[3], HELLO)
    ended = policy.take(TRIPS[4], "".join(f"line {i}\n" for i in range(5_000)))
    assert isinstance(ended, Stop)
    assert len(ended.feedback) <= MOST_FEEDBACK_CHARS
    assert ended.feedback.endswith("line 4999")
    assert '4 writes or edits of "src/app.py" failed' in ended.feedback


def test_f5_feedback_without_a_last_text_is_the_cause_alone() -> None:
    policy = TripPolicy()
    policy.take(TRIPS[5], "")
    ended = policy.take(TRIPS[5], " \n")
    assert isinstance(ended, Stop)
    assert "last text" not in ended.feedback
