"""`skills: {NAME: {speculate: […]}}`: what it comes to, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.domain.speculation import SpeculationRule

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
chains: {a: [{model: qwen, verify: false}]}
"""


def speculating(text: str) -> str:
    return f"{HEAD}skills: {{review: {{speculate: [{text}]}}}}\n"


def test_i2_rules_are_words_or_a_pattern_and_a_call(load: Load) -> None:
    configuration = load(
        speculating(
            "{when: readme, tool: fs_read, arguments: {path: README.md}}, "
            '{when: [a, b], tool: web_find}, {match: "(x)", tool: fs_ls, arguments: {path: "{1}"}}'
        )
    )
    assert configuration.likely_calls == {
        "review": (
            SpeculationRule("fs_read", {"path": "README.md"}, ("readme",)),
            SpeculationRule("web_find", {}, ("a", "b")),
            SpeculationRule("fs_ls", {"path": "{1}"}, (), "(x)"),
        )
    }
    assert configuration.chain_for("review").name == "a"


def test_i2_nothing_is_likely_unless_it_is_said(load: Load) -> None:
    assert load(f"{HEAD}skills: {{review: {{chain: a}}}}\n").likely_calls == {}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{tool: shell, arguments: {command: ls}}", "shell is never started before it is asked for"),
        ("{tool: delegate}", "delegate is never started"),
        ('{tool: "fs_*"}', "must name one tool"),
        ("{tool: fs_raed}", 'did you mean "fs_read"?'),
        ("{tool: fs_ls, when: a, match: b}", "takes when or match, not both"),
        ('{tool: fs_ls, match: "(a)", arguments: {path: "{2}"}}', "name group 2, and match has 1"),
        ('{tool: fs_ls, when: a, arguments: {path: "{1}"}}', "name group 1, and match has none"),
        ('{tool: fs_ls, match: "("}', "is not a regular expression"),
        ("{tool: fs_ls, wehn: a}", 'unknown key; did you mean "when"?'),
        ("{when: a}", "tool"),
    ],
)
def test_i2_what_can_never_fit_is_refused_where_it_stands(refuse: Refuse, rule: str, told: str) -> None:
    (problem,) = refuse(speculating(rule))
    assert told in problem
    assert problem.startswith("chains.yaml:4:")
    assert "skills.review.speculate.0" in problem


@pytest.mark.parametrize(("written", "is_on"), [("", False), ("speculate_results: true", True)])
def test_i3_results_are_taken_ahead_only_where_that_is_said(load: Load, written: str, *, is_on: bool) -> None:
    tiers = "[{model: qwen, verify: false}]"
    configuration = load(HEAD.replace(tiers, f"{{tiers: {tiers}, agent: {{{written}}}}}"))
    assert configuration.chains["a"].tiers[0].agent.speculate_results is is_on
