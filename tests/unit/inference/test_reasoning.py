"""Reasoning at the head of a text is split off, however the text is cut into pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.messages import ReasoningDelta
from hyperguild.inference.reasoning import ThinkSplitter


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    parts = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
    thought = "".join(part.text for part in parts if isinstance(part, ReasoningDelta))
    answer = "".join(part.text for part in parts if not isinstance(part, ReasoningDelta))
    return thought, answer


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("plain", "", "plain"),
        ("<think>hm</think>yes", "hm", "yes"),
        ("\n <think>hm\n</think>\n\nyes ", "hm\n", "yes "),
        ("<think></think>yes", "", "yes"),
        ("<think>never closed", "never closed", ""),
        ("yes <think>no</think>", "", "yes <think>no</think>"),
        ("<thin ice", "", "<thin ice"),
        ("<think>a < b </ think></think>x", "a < b </ think>", "x"),
        ("  indented", "", "  indented"),
        ("", "", ""),
        ("<thi", "", "<thi"),
    ],
)
def test_split(text: str, thought: str, answer: str) -> None:
    assert split([text]) == (thought, answer)
    assert split(list(text)) == (thought, answer)


TEXT = st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", " ", "\n", "word", "</"])).map("".join)


@given(TEXT, st.data())
def test_the_cuts_do_not_matter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    edges = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert split(pieces) == split([text])
