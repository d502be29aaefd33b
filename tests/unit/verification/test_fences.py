"""Cleaning, clipping and code fences."""

from __future__ import annotations

import pytest

from hyperguild.domain.text import cleaned, clipped, clipped_tail
from hyperguild.verification.fences import FencedBlock, fenced_blocks, less_code_fence


def test_cleaned_text_does_nothing_to_a_terminal() -> None:
    assert cleaned("\x1b[1;31mred\x1b[0m\x1b]0;title\x07 a\r\nb\rc\td\x00\u202e\x9b") == "red a\nb\nc\td"


def test_clipping() -> None:
    assert (clipped("abcdef", 6), clipped("abcdefg", 6)) == ("abcdef", "abcde…")
    assert (clipped_tail("abcdef", 6), clipped_tail("abcdefg", 6)) == ("abcdef", "…cdefg")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("```\na\n```", "a"),
        ("  ```json\na\nb\n```  \n", "a\nb"),
        ("````\n```\n````", "```"),
        ("```\n```", ""),
        ("```", "```"),
        ("```\na", "```\na"),
        ("x\n```\na\n```", "x\n```\na\n```"),
        (" a ", " a "),
    ],
)
def test_one_fence_is_taken_off(text: str, inside: str) -> None:
    assert less_code_fence(text) == inside


def test_blocks_as_commonmark_reads_them() -> None:
    text = "a\n```py x\n1\n```\n~~~\n```\n2\n~~~~\n  ```Ruby\n    3\n 4\n```\n``` no `fence\n```\n5"
    assert fenced_blocks(text) == [
        FencedBlock("py", "1\n"),
        FencedBlock("", "```\n2\n"),
        FencedBlock("ruby", "  3\n4\n"),
        FencedBlock("", "5\n"),
    ]
