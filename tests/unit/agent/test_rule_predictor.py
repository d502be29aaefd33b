"""What the rules of a skill guess of a task."""

from __future__ import annotations

from typing import Any

import pytest

from hyperguild.agent.guesses import Guess, Seen
from hyperguild.agent.rule_predictor import MATCH_TIMEOUT_S, RulePredictor
from hyperguild.domain.speculation import SpeculationRule
from hyperguild.domain.tools import ToolCall

README = SpeculationRule("fs_read", {"path": "README.md"}, words=("readme", "the docs", "C++"))
FILE = SpeculationRule(
    "fs_read", {"path": "{1}", "deep": [{"of": "{2}{2}"}], "n": 1}, pattern=r"(\w+\.py)(?::(\d+))?"
)


@pytest.mark.parametrize(
    ("rule", "task", "arguments"),
    [
        (README, "Sum up the README.", {"path": "README.md"}),
        (README, "What do the Docs say?", {"path": "README.md"}),
        (README, "port it to c++", {"path": "README.md"}),
        (README, "Read readmes.", None),
        (README, "", None),
        (FILE, "look at a.py:12, and b.py", {"path": "a.py", "deep": [{"of": "1212"}], "n": 1}),
        (FILE, "look at a.py", {"path": "a.py", "deep": [{"of": ""}], "n": 1}),
        (FILE, "look around", None),
        (SpeculationRule("fs_ls", {}), "anything", {}),
    ],
)
def test_i2_a_rule_guesses_by_words_or_by_a_pattern(
    rule: SpeculationRule, task: str, arguments: dict[str, Any] | None
) -> None:
    expected = [] if arguments is None else [Guess(rule.tool, arguments)]
    assert list(RulePredictor([rule]).guesses(Seen(task))) == expected


def test_i2_what_was_called_is_not_guessed_again() -> None:
    predictor = RulePredictor([README, SpeculationRule("fs_ls", {})])
    call = ToolCall("c", "fs_read", {"path": "README.md"})
    assert [one.tool for one in predictor.guesses(Seen("readme"))] == ["fs_read", "fs_ls"]
    assert [one.tool for one in predictor.guesses(Seen("readme", (call,)))] == ["fs_ls"]
    assert [one.tool for one in predictor.guesses(Seen("other"))] == ["fs_ls"]


def test_i6_a_pattern_that_takes_too_long_guesses_nothing() -> None:
    slow = SpeculationRule("fs_ls", {}, pattern=r"(a|aa)+$")
    assert RulePredictor([slow]).guesses(Seen("a" * 5000 + "b")) == []
    assert MATCH_TIMEOUT_S < 1
