"""`limits:` of chains.yaml: what each run, a session and a day may spend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.json_schema import chains_json_schema
from hyperguild.domain.chain import Budget
from hyperguild.domain.limits import Allotment, Limits

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  cloud: {kind: anthropic, base_url: "https://cloud.example"}
models: {priced: {endpoint: cloud, price: {input: 1, output: 1}}}
verifiers: {default: {judge: qwen}}
"""
CHAINS = "chains: {a: {budget: {cost_usd: 0.5, attempts: 9}, tiers: [qwen, priced]}, b: [qwen]}\n"


def test_limits_of_a_run_tighten_the_budget_of_every_chain(load: Load) -> None:
    run = "limits: {run: {cost_usd: 2, attempts: 4, tokens: 90000, seconds: 60}}\n"
    loaded = load(HEAD + CHAINS + run)
    assert loaded.chains["a"].budget == Budget(0.5, 60, 4, 90000)
    assert loaded.chains["b"].budget == Budget(2, 60, 4, 90000)
    assert loaded.limits == Limits(run=Budget(2, 60, 4, 90000))
    assert not loaded.limits.shared


def test_limits_of_a_session_and_a_day(load: Load) -> None:
    shared = "limits: {session: {tokens: 5}, day: {cost_usd: 5, attempts: 100}}\n"
    limits = load(HEAD + CHAINS + shared).limits
    assert limits == Limits(session=Allotment(tokens=5), day=Allotment(cost_usd=5, attempts=100))
    assert limits.shared
    assert [*limits.each()] == [("session", "tokens", 5), ("day", "cost_usd", 5), ("day", "attempts", 100)]
    assert load(HEAD + CHAINS).limits == Limits()


def test_tokens_in_the_budget_of_a_chain(load: Load) -> None:
    loaded = load(HEAD + "chains: {a: {budget: {tokens: 700}, tiers: [qwen]}}\n")
    assert loaded.chains["a"].budget == Budget(tokens=700)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ("{day: {cost_usd: 0}}", "limits.day.cost_usd: must be more than 0"),
        ("{day: {cost: 1}}", 'limits.day.cost: unknown key; did you mean "cost_usd"?'),
        ("{day: {seconds: 1}}", "limits.day.seconds: unknown key"),
        ("{dya: {}}", 'limits.dya: unknown key; did you mean "day"?'),
        ("{session: {tokens: 1.5}}", "limits.session.tokens: must be a whole number"),
        ("{run: {attempts: 0}}", "limits.run.attempts: must be at least 1"),
        ("5", "limits: must be a mapping"),
    ],
)
def test_a_mistake_in_limits(refuse: Refuse, limits: str, problem: str) -> None:
    (line,) = refuse(HEAD + CHAINS + f"limits: {limits}\n")
    assert line.partition(": ")[2] == problem


@pytest.mark.parametrize("scope", ["run", "session", "day"])
def test_a_limit_in_usd_over_models_without_a_price(refuse: Refuse, scope: str) -> None:
    judged = HEAD.replace("judge: qwen", "judge: claude-judge")
    lines = refuse(f"{judged}chains: {{a: [qwen, claude-x]}}\nlimits: {{{scope}: {{cost_usd: 1}}}}\n")
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "chains.a.1",
        f"limits.{scope}.cost_usd",
    ]
    assert f'has limits.{scope}.cost_usd above it, but "claude-x" has no price: add' in lines[0]
    assert 'the judge "claude-judge" has no price' in lines[1]


def test_editors_know_of_limits() -> None:
    schema = chains_json_schema()
    limits = schema["properties"]["limits"]
    name = (limits.get("$ref") or limits["allOf"][0]["$ref"]).rpartition("/")[2]
    assert set(schema["$defs"][name]["properties"]) == {"run", "session", "day"}
