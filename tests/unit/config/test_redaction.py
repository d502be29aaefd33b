"""`redaction:` of chains.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hyperguild.config.loader import load_config_text
from hyperguild.domain.redaction import RedactionPattern, RedactionPolicy

Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
chains: {a: [{model: x, verify: false}]}
"""


def policy(text: str = "") -> RedactionPolicy:
    return load_config_text(HEAD + text, Path("chains.yaml"), {}).redaction


def test_secrets_are_taken_out_unless_somebody_says_no() -> None:
    assert policy() == RedactionPolicy(secrets=True, patterns=())
    assert policy("redaction: {secrets: false}\n") == RedactionPolicy(secrets=False)
    wanted = policy("redaction: {patterns: [{name: ticket, regex: 'TKT-[0-9]+'}]}\n")
    assert wanted == RedactionPolicy(patterns=(RedactionPattern("ticket", "TKT-[0-9]+"),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{sicrets: true}", 'redaction.sicrets: unknown key; did you mean "secrets"?'),
        ("{secret: true}", 'redaction.secret: unknown key; did you mean "secrets"?'),
        ("{secrets: maybe}", "redaction.secrets: must be true or false"),
        ("{patterns: [{name: a, regex: '('}]}", "redaction.patterns.0.regex: is not a regular expression"),
        (
            "{patterns: [{name: a, regex: 'x*'}]}",
            "redaction.patterns.0.regex: must not match the empty text: it would match everywhere",
        ),
        ("{patterns: [{name: a, regex: '^'}]}", "must not match the empty text"),
        ("{patterns: [{name: A b, regex: 'x'}]}", "redaction.patterns.0.name: must be lower-case"),
        (
            "{patterns: [{name: a, regex: 'x'}, {name: a, regex: 'y'}]}",
            "redaction.patterns: has two patterns named a",
        ),
        ("{patterns: [{regex: 'x'}]}", "redaction.patterns.0.name: required"),
    ],
)
def test_what_cannot_be_acted_upon_is_refused(refuse: Refuse, text: str, problem: str) -> None:
    (line,) = refuse(f"{HEAD}redaction: {text}\n")
    assert problem in line
