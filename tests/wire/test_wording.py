"""Small pure things: cleaned text, shown URLs, Retry-After."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperguild.adapters.wire.retry_after import RETRY_AFTER_MAX_S, retry_after_s
from hyperguild.adapters.wire.wording import one_line, shown_url


@settings(deadline=None)
@given(st.text(), st.integers(min_value=1, max_value=60))
@example("0\r\U00018d09", 2)  # what is not printable, and newer than this Python's tables, ends the line
def test_one_line_is_one_short_printable_line(text: str, limit: int) -> None:
    line = one_line(text, limit=limit)

    assert len(line) <= limit
    assert line.isprintable()
    assert one_line(line, limit=limit) == line


def test_secrets_are_cut_out_the_longest_first() -> None:
    assert one_line("key abcdefgh and abcd, a", secrets=("abcd", "abcdefgh", "a")) == "key [key] and [key], a"


def test_escapes_vanish() -> None:
    assert one_line("\x1b]0;title\x07a\x1b[1;31mb\x1b[0m\nc") == "ab c"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:80/v1/?key=secret#x", "http://host:80/v1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e9"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        (
            {"retry-after": "Sat, 21 Nov 2026 09:53:31 GMT", "date": "Sat, 21 Nov 2026 09:53:01 GMT"},
            30.0,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 09:53:31 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 09:53:01 GMT", "date": "Sat, 21 Nov 2026 09:53:31 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
