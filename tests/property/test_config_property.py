"""Whatever stands in chains.yaml, loading returns or raises ConfigError, and points inside the file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyperguild.config.configuration import Configuration
from hyperguild.config.json_schema import chains_json_schema
from hyperguild.config.loader import load_config_text
from hyperguild.config.marks import read_yaml
from hyperguild.domain.chain import Chain
from hyperguild.errors import ConfigError

PATH = Path("/nowhere/chains.yaml")
OWN_TEXT = (Path(__file__).parents[2] / "chains.yaml").read_text()
ENV = {"HOST": "127.0.0.1", "API_KEY": "hunter2hunter2"}
# What YAML takes for the end of a line.
LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
bounded = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = [
    "version",
    "endpoints",
    "models",
    "verifiers",
    "chains",
    "skills",
    "log",
    "kind",
    "base_url",
    "argv",
    "api_key",
    "api_key_env",
    "headers",
    "llama-swap",
    "openai",
    "anthropic",
    "command",
    "embedded",
    "gguf",
    "max_loaded",
    "ttl_s",
    "threads",
    "keep",
    "http://127.0.0.1",
    "${HOST}",
    "${NONE}",
    "${",
    "default",
    "judge",
    "checks",
    "tiers",
    "model",
    "tier",
    "verify",
    "params",
    "temperature",
    "stop",
    "extra_body",
    "price",
    "input",
    "output",
    "budget",
    "cost_usd",
    "feedback",
    "regex",
    "pattern",
    "schema",
    "json_schema",
    "length",
    "min_chars",
    "max_chars",
    "(",
    "a{2",
    "claude-x",
    "a/b",
    "phi4",
    "<<",
    "schema.json",
    "agent",
    "max_steps",
    "tools",
    "permission_mode",
    "bypass",
    "rules",
    "allow",
    "deny",
    "two_stage",
    "compact_at",
    "fs_*",
    "shell(git:*)",
    "shell(",
    "Bash",
]
scalars = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from([0, 1, -1, 0.5, 10**30, 1.5e300, True, False, None]),
    st.text(max_size=8),
    st.floats(),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)


def load_or_refuse(text: str) -> None:
    """Load; check the form of a refusal."""
    try:
        load_config_text(text, PATH, ENV)
    except ConfigError as exc:
        check_refusal(exc, LINE_END.split(text))


def check_refusal(error: ConfigError, lines: list[str]) -> None:
    assert error.problems
    found = [(problem.line, problem.column) for problem in error.problems]
    assert found == sorted(found)
    for problem in error.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert str(problem).isprintable()
        assert "hunter2" not in str(problem)


@bounded
@given(st.text(max_size=300))
@example("[" * 2000)
@example('"\\U11111111"')
@example("%YAML 1." + "1" * 5000 + "\n--- a")
@example("? ? ? a")
def test_any_text(text: str) -> None:
    load_or_refuse(text)


@bounded
@given(
    st.lists(
        st.sampled_from([*WORDS, *":-?[]{},&*!|>'\"%@`#\n \t", ": ", "- ", "\n  ", "*a", "&a "]), max_size=60
    )
)
def test_pieces_of_yaml(pieces: list[str]) -> None:
    load_or_refuse("".join(pieces))


@bounded
@given(anything)
def test_any_data(data: Any) -> None:
    load_or_refuse(yaml.safe_dump(data, allow_unicode=True))


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value."""
    found = [path]
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            found += places(value, (*path, index))
    return found


OWN_PLACES = places(yaml.safe_load(OWN_TEXT))


@bounded
@given(st.lists(st.tuples(st.sampled_from(OWN_PLACES[1:]), anything), min_size=1, max_size=4))
def test_a_good_file_with_parts_replaced(edits: list[tuple[tuple[Any, ...], Any]]) -> None:
    data = yaml.safe_load(OWN_TEXT)
    for path, value in edits:
        here = data
        for part in path[:-1]:
            here = here[part] if isinstance(here, (dict, list)) and _has(here, part) else None
        if isinstance(here, (dict, list)) and _has(here, path[-1]):
            here[path[-1]] = value
    load_or_refuse(yaml.safe_dump(data, allow_unicode=True))


def _has(here: dict[Any, Any] | list[Any], part: Any) -> bool:
    return part in here if isinstance(here, dict) else isinstance(part, int) and part < len(here)


@bounded
@given(st.sampled_from(OWN_PLACES[1:]), st.sampled_from(["bogus", "api_key", "modle"]))
def test_an_unknown_key_is_found_wherever_it_stands(path: tuple[Any, ...], key: str) -> None:
    data = yaml.safe_load(OWN_TEXT)
    here = data
    for part in path:
        here = here[part]
    free = ("models", "verifiers", "chains", "skills", "endpoints")
    if not isinstance(here, dict) or path[-1:] == ("headers",) or "extra_body" in path:
        return
    if len(path) == 1 and path[0] in free:
        return
    here[key] = "hunter2"
    text = yaml.safe_dump(data)
    with pytest.raises(ConfigError) as caught:
        load_config_text(text, PATH, ENV)
    (problem,) = caught.value.problems
    assert text.splitlines()[problem.line - 1][problem.column - 1 :].startswith(f"{key}:")
    assert "hunter2" not in str(problem)


# Random files that hold.

names = st.sampled_from(["phi4", "qwen", "claude-x", "swap/a", "cloud/b", "gpt/c", "tiny"])
seconds = st.floats(min_value=0.1, max_value=1000)
params = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 100),
        "repeat_penalty": st.floats(0.5, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(),
        "stop": st.one_of(st.just("END"), st.just(["A", "B"])),
        "reasoning_effort": st.sampled_from(["low", "high"]),
    },
)
rule_lists = st.lists(
    st.sampled_from(["shell", "shell(git:*)", "fs_write(src/**)", "fs_*", "a_get(url=b)", "*"]), max_size=3
)
agents = st.fixed_dictionaries(
    {},
    optional={
        "max_steps": st.integers(1, 1000),
        "tools": st.one_of(
            st.none(), st.just("fs_*"), st.lists(st.sampled_from(["shell", "a_*"]), max_size=2)
        ),
        "permission_mode": st.sampled_from(["deny", "plan", "default", "accept_edits", "auto", "bypass"]),
        "rules": st.fixed_dictionaries(
            {}, optional={"allow": rule_lists, "ask": rule_lists, "deny": rule_lists}
        ),
        "two_stage": st.sampled_from(["auto", "always", "never"]),
        "compact_at": st.integers(10, 100),
        "tool_timeout_s": seconds,
    },
)
tiers = st.one_of(
    names,
    st.fixed_dictionaries(
        {"model": names},
        optional={
            "tier": st.sampled_from(["local", "managed", "subagent"]),
            "verify": st.booleans(),
            "when_cold": st.sampled_from(["wait", "skip", "hedge"]),
            "attempts": st.integers(1, 5),
            "timeout_s": seconds,
            "silence_timeout_s": seconds,
            "retries": st.integers(0, 10),
            "retry_wait_max_s": st.floats(0, 60),
            "params": params,
            "extra_body": st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(), max_size=2),
            "agent": agents,
        },
    ),
)
tier_lists = st.lists(tiers, min_size=1, max_size=4)
checks = st.sampled_from(
    [
        {"kind": "not_empty"},
        {"kind": "complete"},
        {"kind": "python_syntax"},
        {"kind": "regex", "pattern": "^a", "expect": "no_match"},
        {"kind": "length", "min_chars": 1, "max_chars": 2},
        {"kind": "json_schema", "schema": {"type": "object"}},
        {"kind": "json_schema", "schema": True},
        {"kind": "command", "argv": ["true"], "timeout_s": 1},
    ]
)
judges = st.one_of(
    names,
    st.lists(names, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {"model": st.one_of(names, st.lists(names, min_size=1, max_size=2))},
        optional={
            "accept_at": st.floats(0, 1),
            "votes": st.integers(1, 9),
            "on_error": st.sampled_from(["escalate", "accept", "retry"]),
            "prefer": st.just("warm"),
            "params": params,
            "load_timeout_s": seconds,
        },
    ),
)
verifiers = st.one_of(
    st.fixed_dictionaries({"judge": judges}, optional={"checks": st.lists(checks, max_size=3)}),
    st.fixed_dictionaries({"checks": st.lists(checks, min_size=1, max_size=3)}),
)
chains = st.one_of(
    tier_lists,
    st.fixed_dictionaries(
        {"tiers": tier_lists},
        optional={
            "verifier": st.sampled_from(["default", "strict"]),
            "feedback": st.fixed_dictionaries(
                {}, optional={"answers": st.just("all"), "max_chars": st.just(200)}
            ),
            "budget": st.fixed_dictionaries({}, optional={"seconds": seconds, "attempts": st.integers(1, 9)}),
            "on_exhausted": st.sampled_from(["error", "best"]),
            "agent": agents,
        },
    ),
)
embedded = st.fixed_dictionaries(
    {"kind": st.just("embedded")},
    optional={
        "max_loaded": st.integers(1, 9),
        "ttl_s": seconds,
        "slots": st.integers(1, 9),
        "threads": st.one_of(st.none(), st.integers(1, 9)),
        "keep": st.booleans(),
    },
)
files = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "endpoints": st.fixed_dictionaries(
            {
                "swap": st.just({"kind": "llama-swap", "base_url": "http://127.0.0.1:8080"}),
                "cloud": st.just(
                    {"kind": "anthropic", "base_url": "https://api.anthropic.com", "api_key_env": "KEY"}
                ),
                "gpt": st.just({"kind": "openai", "base_url": "https://api.openai.com/v1"}),
                "claude": st.just({"kind": "command", "argv": ["claude", "{model}"]}),
                "here": embedded,
            }
        ),
        "models": st.fixed_dictionaries(
            {"tiny": st.just({"endpoint": "here", "gguf": "models/tiny.gguf"})},
            optional={"phi4": st.just({"endpoint": "swap", "vision": True, "context_window": 4096})},
        ),
        "verifiers": st.fixed_dictionaries({"default": verifiers, "strict": verifiers}),
        "chains": st.dictionaries(st.text("abcdef-", min_size=1, max_size=5), chains, min_size=1, max_size=3),
    },
    optional={
        "log": st.sampled_from([{"content": "none"}, {"keep_days": None}, {}]),
    },
)


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(chains_json_schema())


@bounded
@given(files)
def test_a_valid_file_resolves_and_the_json_schema_accepts_it(data: dict[str, Any]) -> None:
    validator().validate(data)
    configuration = load_config_text(yaml.safe_dump(data), PATH, {})
    assert set(configuration.chains) == set(data["chains"])
    engine = configuration.endpoints["here"].engine
    for key, value in data["endpoints"]["here"].items():
        assert key == "kind" or getattr(engine, key) == value
    assert configuration.models["tiny"].gguf == PATH.parent / "models" / "tiny.gguf"
    for name, chain in configuration.chains.items():
        written = data["chains"][name]
        long = {"tiers": written} if isinstance(written, list) else written
        assert_resolved(configuration, chain, long["tiers"])
        assert_policies(chain, long)


def assert_policies(chain: Chain, written: dict[str, Any]) -> None:
    """Check that each tier works as it says itself, else as its chain says, else as usual."""
    for tier, entry in zip(chain.tiers, written["tiers"], strict=True):
        own = {} if isinstance(entry, str) else entry.get("agent", {})
        above = written.get("agent", {})
        for key, usual in (("max_steps", 20), ("permission_mode", "default"), ("two_stage", "auto")):
            assert getattr(tier.agent, key) == own.get(key, above.get(key, usual))
        percent = own.get("compact_at", above.get("compact_at", 70))
        assert tier.agent.compact_at == percent / 100
        tools = own.get("tools", above.get("tools"))
        listed = [tools] if isinstance(tools, str) else tools
        assert (None if tier.agent.tools is None else list(tier.agent.tools)) == listed
        for kind in ("allow", "ask", "deny"):
            rules = own.get("rules", {}).get(kind, above.get("rules", {}).get(kind, []))
            assert list(getattr(tier.agent.rules, kind)) == rules


def assert_resolved(configuration: Configuration, chain: Chain, written: list[Any]) -> None:
    """Check that the tiers are those that were written, with what was set and the rest by default."""
    assert [tier.position for tier in chain.tiers] == list(range(len(written)))
    assert chain.verifier is not None
    for tier, entry in zip(chain.tiers, written, strict=True):
        long = {"model": entry} if isinstance(entry, str) else entry
        assert tier.model.name == long["model"]
        assert tier.model.label == long.get("tier", configuration.model(long["model"]).label)
        assert tier.verify == long.get("verify", tier.model.label == "local")
        assert tier.attempts == long.get("attempts", 1)
        assert tier.limits.total_s == long.get("timeout_s", 600)
        assert set(long.get("params", {})) <= set(tier.model.params)


@bounded
@given(anything)
def test_reading_yaml_gives_back_what_was_written(data: Any) -> None:
    document = read_yaml(yaml.safe_dump(data))
    if not document.faults and "<<" not in str(data):
        assert document.data == data
