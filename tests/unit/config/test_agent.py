"""`agent:` of chains and tiers: what it comes to, and what of it is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.domain.agent import AgentPolicy, PermissionRules

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
verifiers: {default: {judge: qwen}}
"""


def policies(configuration: Configuration) -> list[AgentPolicy]:
    return [tier.agent for tier in configuration.chains["a"].tiers]


@pytest.mark.parametrize(
    "chain",
    [
        "[qwen]",
        "{tiers: [qwen], agent: {}}",
        "{tiers: [{model: qwen, agent: {rules: {}}}]}",
        (
            "{tiers: [qwen], agent: {max_steps: 20, tools: null, permission_mode: default, "
            "rules: {allow: []}, two_stage: auto, compact_at: 70, tool_timeout_s: 120}}"
        ),
    ],
)
def test_defaults(load: Load, chain: str) -> None:
    assert policies(load(HEAD + f"chains: {{a: {chain}}}\n")) == [AgentPolicy()]


def test_all_of_it(load: Load) -> None:
    text = """\
chains:
  a:
    tiers: [qwen]
    agent:
      max_steps: 1000
      tools: ["fs_*", shell, github_get_issue, "linear_*"]
      permission_mode: accept_edits
      rules: {allow: ["shell(git log:*)"], ask: ["fs_write(.github/**)"], deny: ["shell(git push:*)", shell]}
      two_stage: always
      compact_at: 29
      tool_timeout_s: 0.5
"""
    assert policies(load(HEAD + text)) == [
        AgentPolicy(
            max_steps=1000,
            tools=("fs_*", "shell", "github_get_issue", "linear_*"),
            permission_mode="accept_edits",
            rules=PermissionRules(
                allow=("shell(git log:*)",),
                ask=("fs_write(.github/**)",),
                deny=("shell(git push:*)", "shell"),
            ),
            two_stage="always",
            compact_at=0.29,
            tool_timeout_s=0.5,
        )
    ]


def test_a_tier_wins_over_its_chain_key_by_key(load: Load) -> None:
    text = """\
chains:
  a:
    agent:
      max_steps: 5
      tools: fs_read
      permission_mode: plan
      rules: {allow: [fs_read], ask: [fs_grep], deny: [shell]}
      compact_at: 50
    tiers:
      - qwen
      - model: phi4
        agent: {max_steps: 20, tools: null, rules: {allow: [fs_ls, fs_glob], deny: []}, compact_at: 100}
      - {model: tiny, agent: {tools: [], permission_mode: default}}
"""
    rules = PermissionRules(allow=("fs_read",), ask=("fs_grep",), deny=("shell",))
    chain = AgentPolicy(max_steps=5, tools=("fs_read",), permission_mode="plan", rules=rules, compact_at=0.5)
    assert policies(load(HEAD + text)) == [
        chain,
        AgentPolicy(
            max_steps=20,
            tools=None,
            permission_mode="plan",
            rules=PermissionRules(allow=("fs_ls", "fs_glob"), ask=("fs_grep",), deny=()),
            compact_at=1.0,
        ),
        AgentPolicy(max_steps=5, tools=(), permission_mode="default", rules=rules, compact_at=0.5),
    ]


@pytest.mark.parametrize(
    ("agent", "problem"),
    [
        ("{max_steps: 0}", "33: max_steps: 0 is refused: name the most steps an attempt may take"),
        ("{max_steps: -1}", "33: max_steps: must be at least 1"),
        ("{max_steps: 1001}", "33: max_steps: must be at most 1000"),
        ("{max_steps: false}", "33: max_steps: must be a whole number"),
        ("{max_steps: null}", "33: max_steps: must be a whole number"),
        ("{max_stpes: 5}", '22: max_stpes: unknown key; did you mean "max_steps"?'),
        ("{compact_at: 9}", "34: compact_at: must be at least 10"),
        ("{compact_at: 101}", "34: compact_at: must be at most 100"),
        ("{compact_at: 0.7}", "34: compact_at: must be at least 10"),
        ("{tool_timeout_s: 0}", "38: tool_timeout_s: must be more than 0"),
        (
            "{two_stage: alwys}",
            '33: two_stage: must be auto, always or never; did you mean "always"?',
        ),
        (
            "{permission_mode: acceptEdits}",
            ("39: permission_mode: must be deny, plan, default, accept_edits, auto or bypass; "
            'did you mean "accept_edits"?'),
        ),
        ("{tools: 4}", "29: tools: must be a list"),
        ("{tools: [fs_read, '']}", "39: tools.1: must not be empty"),
        (
            "{tools: [fs_read, Bash]}",
            '39: tools.1: no tool bears this name here; did you mean "shell"?',
        ),
        (
            "{tools: read_file}",
            '29: tools: no tool bears this name here; did you mean "fs_read"?',
        ),
        (
            "{tools: [mcp__github]}",
            '30: tools.0: no tool bears this name here; did you mean "github_*"?',
        ),
        (
            "{tools: [fs_wrtie]}",
            '30: tools.0: no tool bears this name here; did you mean "fs_write"?',
        ),
        (
            "{tools: ['shell(git:*)']}",
            ("30: tools.0: must be the name of a tool, or a glob over names with * and ?; "
            "arguments are a matter of rules"),
        ),
        ("{rules: [shell]}", "29: rules: must be a mapping"),
        ("{rules: {allow: shell}}", "37: rules.allow: must be a list"),
        (
            "{rules: {alow: [shell]}}",
            '30: rules.alow: unknown key; did you mean "allow"?',
        ),
        (
            "{rules: {deny: [shell, 'Bash(rm:*)']}}",
            '44: rules.deny.1: no tool bears this name here; did you mean "shell"?',
        ),
        (
            "{rules: {deny: ['bash(rm:*)']}}",
            '37: rules.deny.0: no tool bears this name here; did you mean "shell"?',
        ),
        (
            "{rules: {deny: ['fs_wrtie(a)']}}",
            '37: rules.deny.0: no tool bears this name here; did you mean "fs_write"?',
        ),
        (
            "{rules: {ask: ['shell(a; b)']}}",
            "36: rules.ask.0: a pattern is the words of one simple command, all written out",
        ),
        (
            "{rules: {ask: ['fs_write(~/a)']}}",
            "36: rules.ask.0: ~ and ! have no meaning here; write the absolute path",
        ),
        (
            "{rules: {allow: [4]}}",
            ("38: rules.allow.0: "
            "must be text; quote it if it looks like a number or a word such as yes"),
        ),
        (
            "{rules: {allow: ['shell(login sk-hunter2hunter2:*)']}}",
            "38: rules.allow.0: a secret in clear is refused; a * can stand for it",
        ),
        (
            f"{{rules: {{allow: [shell({'a' * 1000})]}}}}",
            "38: rules.allow.0: must not be longer than 1000 characters",
        ),
    ],
)  # fmt: skip
def test_refusals(refuse: Refuse, agent: str, problem: str) -> None:
    column, message = problem.split(": ", 1)
    expected = f"chains.yaml:4:{column}: chains.a.agent.{message}"
    assert refuse(HEAD + f"chains: {{a: {{agent: {agent}, tiers: [qwen]}}}}\n") == [expected]


def test_it_is_a_mapping(refuse: Refuse) -> None:
    assert refuse(HEAD + "chains: {a: {agent: 4, tiers: [qwen]}}\n") == [
        "chains.yaml:4:21: chains.a.agent: must be a mapping"
    ]


def test_every_mistake_of_chain_and_tier_at_once(refuse: Refuse) -> None:
    text = """\
chains:
  a:
    agent:
      rules:
        allow:
          - fs_read
          - Bash
          - fs_ls
          - "shell("
    tiers:
      - {model: qwen, agent: {max_steps: 0, tols: [a]}}
"""
    assert refuse(HEAD + text) == [
        (
            "chains.yaml:10:13: chains.a.agent.rules.allow.1: "
            'no tool bears this name here; did you mean "shell"?'
        ),
        (
            "chains.yaml:12:13: chains.a.agent.rules.allow.3: "
            "a rule is the name of a tool, then at most one pattern in brackets"
        ),
        (
            "chains.yaml:14:42: chains.a.tiers.0.agent.max_steps: "
            "0 is refused: name the most steps an attempt may take"
        ),
        'chains.yaml:14:45: chains.a.tiers.0.agent.tols: unknown key; did you mean "tools"?',
    ]


@pytest.mark.parametrize("name", ["github_get", "delegate", "fs_x*", "web_search", "search_web", "a-b_c"])
def test_names_that_a_server_may_bring_are_left_alone(load: Load, name: str) -> None:
    text = f"chains: {{a: {{agent: {{tools: {name}, rules: {{deny: [{name}]}}}}, tiers: [qwen]}}}}\n"
    (policy,) = policies(load(HEAD + text))
    assert policy == AgentPolicy(tools=(name,), rules=PermissionRules(deny=(name,)))
