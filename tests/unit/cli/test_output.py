"""What reaches a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.cli.output import json_text
from hyperguild.domain.telling import dollars, seconds
from hyperguild.domain.text import cleaned, one_line, revealed

FORBIDDEN = {chr(code) for code in [*range(32), *range(127, 160)]} - {"\t", "\n"} | set(
    "\u202a\u202e\u2066\u200f\u061c\u200b\u2060\ufeff\U000e0041"
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]0;never ended\ntext", "\ntext"),
        ("\x1bPnever ended\ntext", "\ntext"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x9b31mb", "ab"),
        ("a\rb", "a\nb"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("abc\u202edef", "abcdef"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
    ],
)
def test_clean(raw: str, shown: str) -> None:
    assert cleaned(raw) == shown


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]\x9b\x07;m0\\"))))
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    assert not set(cleaned(text)) & FORBIDDEN


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x9b\u202e\U000e0041\ud800"))))
def test_what_is_revealed_can_be_read_back(text: str) -> None:
    shown = json_text([text])
    assert not set(shown) & FORBIDDEN
    shown.encode()
    assert json.loads(shown) == [text]
    assert not set(revealed(text)) & FORBIDDEN


@given(st.text(), st.integers(1, 50))
def test_one_line_is_one_line(text: str, width: int) -> None:
    line = one_line(text, width)
    assert "\n" not in line
    assert len(line) <= width


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (119_000, "119.0 s"),
        (200_000, "3 min 20 s"),
    ],
)
def test_seconds(ms: int | None, text: str) -> None:
    assert seconds(ms) == text


@pytest.mark.parametrize(
    ("cost", "text"), [(None, "cost unknown"), (0, "$0"), (0.00123, "$0.0012"), (12.345, "$12.35")]
)
def test_dollars(cost: float | None, text: str) -> None:
    assert dollars(cost) == text
