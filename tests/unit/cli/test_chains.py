from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from hyperguild.cli.main import run_command_line

CHAINS = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  anthropic: {kind: anthropic, base_url: "https://api.anthropic.com", api_key_env: ANTHROPIC_API_KEY}
  claude: {kind: command, argv: [claude, -p, --model, "{model}"]}
models:
  phi4: {endpoint: swap, upstream: phi-4-q4, context_window: 16384, max_output_tokens: 2048}
  claude-sonnet-4-6:
    endpoint: anthropic
    price: {input: 3.0, output: 15.0, cached_input: 0.075}
    vision: true
  opus: {endpoint: claude}
verifiers:
  default: {judge: qwen3-8b}
  plain: {checks: [{kind: not_empty}]}
  strict:
    checks:
      - {kind: complete}
      - {kind: regex, pattern: "^## ", expect: match}
      - {kind: length, max_chars: 20000}
      - {kind: json_schema, schema: {type: object}}
      - {kind: command, argv: [scripts/check it, --now], timeout_s: 30}
    judge:
      model: [qwen3-8b, phi4]
      prefer: warm
      accept_at: 0.8
      votes: 3
      on_error: accept
      params: {temperature: 0.1}
      rubric: Be strict.
chains:
  default: [phi4, claude-sonnet-4-6]
  code:
    verifier: strict
    feedback: {answers: all, max_chars: 9000}
    budget: {cost_usd: 0.5, seconds: 900, attempts: 6}
    on_exhausted: best
    tiers:
      - {model: phi4, when_cold: skip, params: {temperature: 0.2, stop: [END]}, extra_body: {a: {b: false}}}
      - {model: claude-sonnet-4-6, attempts: 2, retries: 0, verify: true}
      - {model: qwen3-8b, when_cold: skip, timeout_s: 90, load_timeout_s: 150, retry_wait_max_s: 9}
  checked: {verifier: plain, tiers: [phi4, opus]}
skills:
  review: {chain: code}
  debug: {chain: code}
  explain: {chain: default}
"""

ONE_CHAIN = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
verifiers: {default: {judge: judge}}
chains: {only: [phi4]}
"""

TWO_CHAINS = ONE_CHAIN.replace("{only: [phi4]}", "{one: [phi4], two: [phi4]}")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HYPERGUILD_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def chains_file(tmp_path: Path) -> Path:
    return write(tmp_path, CHAINS)


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chains.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = run(capsys, "chains", "show", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_list_gives_tiers_verifier_budget_and_users(
    chains_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "chains", "list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "default  phi4 → claude-sonnet-4-6",
        "         verifier default · budget none · used by explain, every other skill",
        "code     phi4 → claude-sonnet-4-6 → qwen3-8b",
        "         verifier strict · budget at most $0.50, 15 min, 6 attempts · used by review, debug",
        "checked  phi4 → opus",
        "         verifier plain · budget none · used by --chain only",
    ]


def test_list_as_json(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "chains", "list", "--json")
    assert code == 0
    default, code_chain, _ = json.loads(out)
    assert default == {
        "name": "default",
        "default": True,
        "tiers": ["phi4", "claude-sonnet-4-6"],
        "verifier": "default",
        "budget": {"cost_usd": None, "seconds": None, "attempts": None, "tokens": None},
        "skills": ["explain"],
    }
    assert code_chain["default"] is False
    assert code_chain["budget"] == {"cost_usd": 0.5, "seconds": 900, "attempts": 6, "tokens": None}
    assert code_chain["skills"] == ["review", "debug"]


@pytest.mark.parametrize("columns", ["30", "50", "100"])
def test_list_keeps_within_the_columns(
    chains_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = run(capsys, "chains", "list")
    assert code == 0
    assert out.count("phi4") == 3
    longest_item = len("budget at most $0.50, 15 min, 6 attempts") + 2
    assert max(len(line) for line in out.splitlines()) <= max(int(columns), longest_item)


def test_the_only_chain_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ONE_CHAIN)
    _, out, _ = run(capsys, "chains", "list")
    assert "used by every skill without an entry" in out
    assert shown(capsys)["name"] == "only"


def test_show_fills_every_default_in(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = shown(capsys)
    assert (chain["name"], chain["default"], chain["on_exhausted"]) == ("default", True, "error")
    assert chain["feedback"] == {"answers": "last", "max_chars": 6000}
    phi4, sonnet = chain["tiers"]
    assert phi4 == {
        "position": 0,
        "model": "phi4",
        "endpoint": "swap",
        "kind": "llama-swap",
        "base_url": "http://127.0.0.1:8080",
        "upstream": "phi-4-q4",
        "gguf": None,
        "tier": "local",
        "verify": True,
        "when_cold": "wait",
        "hedge_after_s": None,
        "speculate": False,
        "attempts": 1,
        "timeout_s": 600,
        "load_timeout_s": 300,
        "first_token_timeout_s": 60,
        "silence_timeout_s": 60,
        "retries": 2,
        "retry_wait_max_s": 5,
        "context_window": 16384,
        "max_output_tokens": 2048,
        "params": {},
        "extra_body": {},
        "price": None,
        "vision": False,
        "tools": True,
        "json_schema": True,
        "agent": {
            "max_steps": 20,
            "tools": None,
            "permission_mode": "default",
            "rules": {"allow": [], "ask": [], "deny": []},
            "two_stage": "auto",
            "compact_at": 70,
            "tool_timeout_s": 120,
            "workspace": "shared",
            "delegate": [],
            "speculate_results": False,
        },
    }
    assert (sonnet["tier"], sonnet["verify"], sonnet["when_cold"]) == ("subagent", False, None)
    assert sonnet["price"] == {"input": 3, "output": 15, "cached_input": 0.075, "cache_write": None}
    judge = chain["verifier"]["judge"]
    assert (judge["model"], judge["accept_at"], judge["votes"]) == (["qwen3-8b"], 0.7, 1)
    assert (judge["on_error"], judge["prefer"], judge["load_timeout_s"]) == ("escalate", None, 300)
    assert judge["models"][0]["endpoint"] == "swap"


def test_show_tells_of_limits_over_all_chains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = "limits: {run: {tokens: 9000}, session: {attempts: 3}, day: {cost_usd: 5, tokens: 100000}}\n"
    write(tmp_path, ONE_CHAIN + limits)
    chain = shown(capsys)
    assert chain["budget"]["tokens"] == 9000
    assert chain["limits"]["day"] == {"cost_usd": 5, "tokens": 100_000, "attempts": None}
    _, out, _ = run(capsys, "chains", "show")
    facts = [" ".join(line.split()) for line in out.splitlines()]
    assert "budget at most 9000 tokens" in facts
    assert "per session at most 3 attempts" in facts
    assert "per day at most $5.00, 100000 tokens" in facts


def test_show_as_json_has_all_that_was_set(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = shown(capsys, "code")
    assert chain["on_exhausted"] == "best"
    assert chain["tiers"][0]["params"] == {"temperature": 0.2, "stop": ["END"]}
    assert chain["tiers"][0]["extra_body"] == {"a": {"b": False}}
    assert chain["tiers"][1]["verify"] is True
    checks = chain["verifier"]["checks"]
    assert [check["kind"] for check in checks] == ["complete", "regex", "length", "json_schema", "command"]
    assert checks[1] == {"kind": "regex", "pattern": "^## ", "expect": "match"}
    assert checks[4] == {"kind": "command", "argv": ["scripts/check it", "--now"], "timeout_s": 30}
    assert chain["verifier"]["judge"]["models"][1]["params"] == {"temperature": 0.1}


def test_show_on_a_page(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "chains", "show", "code")
    assert (code, err) == (0, "")
    facts = [" ".join(line.split()) for line in out.splitlines() if line]
    assert facts == [
        "chain code",
        "used by review, debug",
        "budget at most $0.50, 15 min, 6 attempts",
        "feedback what the verifier said, and every refused answer; at most 9,000 characters",
        "if all fail the best refused answer, flagged",
        "1 phi4 local, checked and judged",
        "endpoint swap (llama-swap, http://127.0.0.1:8080)",
        "upstream phi-4-q4",
        "when cold skip",
        "attempts 1; 2 retries each, after waits of up to 5 s",
        "limits 10 min in all, 5 min to load, 60 s to the first token, 60 s from token to token",
        "window 16,384 tokens, of which 2,048 for the answer",
        'params temperature 0.2, stop ["END"]',
        'extra body {"a": {"b": false}}',
        "can tools, json_schema",
        "price free",
        "2 claude-sonnet-4-6 subagent, checked and judged",
        "endpoint anthropic (anthropic, https://api.anthropic.com)",
        "upstream claude-sonnet-4-6",
        "attempts 2; no retries",
        "limits 10 min in all, 60 s to the first token, 60 s from token to token",
        "window unknown",
        "can vision, tools, json_schema",
        "price $3.00 in, $15.00 out, $0.075 cached; per million tokens",
        "3 qwen3-8b local, checked and judged",
        "endpoint swap (llama-swap, http://127.0.0.1:8080)",
        "upstream qwen3-8b",
        "when cold wait (the last tier is never skipped)",
        "attempts 1; 2 retries each, after waits of up to 9 s",
        "limits 90 s in all, 150 s to load, 60 s to the first token, 60 s from token to token",
        "window unknown",
        "can tools, json_schema",
        "price free",
        "verifier strict",
        "checks complete",
        'regex pattern "^## ", expect "match"',
        "length max_chars 20000",
        'json_schema schema {"type": "object"}',
        "command argv 'scripts/check it' --now, timeout_s 30.0",
        "judge qwen3-8b (swap), else phi4 (swap); one that is loaded goes first",
        "accepts from 0.8 on; 3 votes; a judge that fails accepts",
        "params qwen3-8b: temperature 0.1",
        "params phi4: temperature 0.1",
        "limits 10 min in all, 5 min to load, 60 s to the first token, 60 s from token to token",
        "rubric Be strict.",
    ]


def test_show_tells_the_default_checks_alone_and_programs(
    chains_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "chains", "show")
    assert out.splitlines()[0] == "chain default  (default)"
    _, out, _ = run(capsys, "chains", "show", "checked")
    assert "phi4  local, checked\n" in out
    assert "opus  subagent, not judged\n" in out
    assert "claude (command)" in out
    assert "price        unknown" in out
    assert "judge        none" in out


def test_show_of_an_agents_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = (
        "{max_steps: 1, tools: [fs_read, shell], permission_mode: plan, two_stage: never, compact_at: 29, "
        "tool_timeout_s: 180, rules: {allow: ['shell(git log:*)', fs_read], deny: [fs_write]}}"
    )
    own = "{max_steps: 30, tools: [], compact_at: 100, rules: {allow: [], ask: [a_b]}}"
    write(
        tmp_path,
        ONE_CHAIN.replace(
            "[phi4]",
            f"{{agent: {settings}, tiers: [phi4, {{model: qwen, agent: {own}}}]}}",
        ),
    )
    assert [tier["agent"] for tier in shown(capsys)["tiers"]] == [
        {
            "max_steps": 1,
            "tools": ["fs_read", "shell"],
            "permission_mode": "plan",
            "rules": {"allow": ["shell(git log:*)", "fs_read"], "ask": [], "deny": ["fs_write"]},
            "two_stage": "never",
            "compact_at": 29,
            "tool_timeout_s": 180,
            "workspace": "shared",
            "delegate": [],
            "speculate_results": False,
        },
        {
            "max_steps": 30,
            "tools": [],
            "permission_mode": "plan",
            "rules": {"allow": [], "ask": ["a_b"], "deny": ["fs_write"]},
            "two_stage": "never",
            "compact_at": 100,
            "tool_timeout_s": 180,
            "workspace": "shared",
            "delegate": [],
            "speculate_results": False,
        },
    ]
    _, out, _ = run(capsys, "chains", "show")
    facts = [" ".join(line.split()) for line in out.splitlines()]
    assert [fact for fact in facts if fact.startswith(("agent ", "allow ", "ask ", "deny "))] == [
        (
            "agent at most 1 step; tools fs_read, shell; permission mode plan; tools in two stages: never; "
            "summaries from 29 % of the window on; 180 s for a call of a tool"
        ),
        "allow shell(git log:*), fs_read",
        "deny fs_write",
        (
            "agent at most 30 steps; no tools; permission mode plan; tools in two stages: never; "
            "no summaries; 180 s for a call of a tool"
        ),
        "ask a_b",
        "deny fs_write",
    ]


def test_show_of_hooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard = "{argv: [scripts/guard, a b], tools: [shell, 'fs_*']}"
    hooks = f"{{pre_tool: [{guard}, {{argv: [b], fail_open: true}}], post_tool: [[c]], stop: [[d]]}}"
    write(tmp_path, f"{ONE_CHAIN}hooks: {hooks}\n")
    found = shown(capsys)["hooks"]
    assert found["pre_tool"][0] == {
        "argv": ["scripts/guard", "a b"],
        "tools": ["shell", "fs_*"],
        "timeout_s": 30,
        "fail_open": False,
    }
    assert found["stop"] == [{"argv": ["d"], "timeout_s": 30, "on_error": "ignore"}]
    _, out, _ = run(capsys, "chains", "show")
    assert [" ".join(line.split()) for line in out.partition("\nhooks  ")[2].splitlines()] == [
        "of every chain",
        "pre_tool scripts/guard 'a b' for shell, fs_*; within 30 s; if it fails, the call is denied",
        "b for *; within 30 s; if it fails, it is passed over",
        "post_tool c for *; within 30 s; if it fails, the result is withheld",
        "stop d within 30 s; if it fails, it is passed over",
    ]


def test_show_of_a_chain_without_verifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path,
        ONE_CHAIN.replace("verifiers: {default: {judge: judge}}\n", "").replace(
            "[phi4]", "[{model: phi4, verify: false}]"
        ),
    )
    code, out, _ = run(capsys, "chains", "show")
    assert code == 0
    assert "not judged" in out
    assert "verifier" not in out.replace("what the verifier said", "")
    assert shown(capsys)["verifier"] is None
    _, out, _ = run(capsys, "chains", "list")
    assert "no verifier" in out


def test_show_of_an_embedded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path,
        """\
        version: 1
        endpoints: {here: {kind: embedded}}
        models: {tiny: {endpoint: here, gguf: models/tiny.gguf}}
        chains: {only: [{model: tiny, verify: false, when_cold: hedge, hedge_after_s: 120}]}
        """,
    )
    (tier,) = shown(capsys)["tiers"]
    assert (tier["kind"], tier["base_url"], tier["when_cold"]) == ("embedded", None, "hedge")
    assert (tier["gguf"], tier["context_window"]) == (str(tmp_path / "models" / "tiny.gguf"), 4096)
    _, out, _ = run(capsys, "chains", "show")
    facts = [" ".join(line.split()) for line in out.splitlines()]
    assert "endpoint here (embedded)" in facts
    assert f"file {tmp_path / 'models' / 'tiny.gguf'}" in facts
    assert "when cold hedge, after 2 min" in facts
    assert any(fact.startswith("limits ") and "5 min to load" in fact for fact in facts)
    assert "upstream" not in out


def test_show_never_tells_the_value_of_a_secret_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "hush-hush-hush-42")
    write(tmp_path, ONE_CHAIN.replace("8080", "8080/${GATEWAY_TOKEN}/v1"))
    for arguments in ([], ["--json"]):
        code, out, _ = run(capsys, "chains", "show", *arguments)
        assert code == 0
        assert "http://127.0.0.1:8080/[secret:GATEWAY_TOKEN]/v1" in out
        assert "hush" not in out


def test_show_of_an_unknown_chain_names_the_nearest(
    chains_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "chains", "show", "coed")
    assert (code, out) == (3, "")
    assert 'there is no chain "coed"; did you mean "code"?' in err


def test_show_asks_for_a_name_where_there_is_no_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, TWO_CHAINS)
    code, out, err = run(capsys, "chains", "show")
    assert (code, out) == (2, "")
    assert err == 'error: chains.yaml has no default chain (name one: "one" or "two")\n'


def test_check_of_a_good_file(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "chains", "check") == (0, "chains.yaml: 3 chains, 4 models, no problems\n", "")
    assert run(capsys, "chains", "check", "--json") == (0, "[]\n", "")


def test_check_of_a_file_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "version: 2\n")
    write(tmp_path / "a", ONE_CHAIN)
    outside = write(tmp_path.parent / f"{tmp_path.name}-outside", ONE_CHAIN)
    code, out, _ = run(capsys, "chains", "check", "a/chains.yaml")
    assert (code, out) == (0, "a/chains.yaml: 1 chain, 2 models, no problems\n")
    code, out, _ = run(capsys, "chains", "check", str(outside))
    assert (code, out) == (0, f"{outside}: 1 chain, 2 models, no problems\n")


def test_check_prints_every_problem_on_stdout_and_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, ONE_CHAIN + "log: {content: al}\nfoo: 1\nlog: {}\n")
    code, out, err = run(capsys, "chains", "check")
    assert code == 3
    assert [line.split(" ")[0] for line in out.splitlines()] == [
        "chains.yaml:5:16:",
        "chains.yaml:6:1:",
        "chains.yaml:7:1:",
    ]
    assert "chains.yaml:6:1: foo: unknown key" in out.splitlines()[1]
    assert err == "error: chains.yaml is refused: 3 problems (mend what the lines above name)\n"


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ONE_CHAIN + "foo: 1\n")
    code, out, err = run(capsys, "chains", "check", "--json")
    assert code == 3
    assert json.loads(out) == [
        {"file": "chains.yaml", "line": 5, "column": 1, "path": "foo", "message": "unknown key"}
    ]
    assert err.count("\n") == 1


def test_check_of_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "chains", "check", "nowhere.yaml")
    assert (code, out) == (3, "")
    assert "nowhere.yaml cannot be read: No such file or directory" in err


def test_a_file_that_nobody_trusts_can_be_read(chains_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list"], ["show"], ["check"]):
        assert run(capsys, "chains", *words)[0] == 0


def test_problems_carry_nothing_that_a_terminal_acts_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, ONE_CHAIN + '"\\e[31mred\\u202e": 1\n')
    code, out, _ = run(capsys, "chains", "check")
    assert code == 3
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_schema_accepts_what_loads_and_refuses_what_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "chains", "schema")
    assert (code, err) == (0, "")
    assert out.startswith('{\n  "$schema": "https://json-schema.org/')
    schema = json.loads(out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(CHAINS))
    assert not validator.is_valid(yaml.safe_load(CHAINS.replace("when_cold", "when_clod")))


def test_schema_help_shows_the_line_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "chains", "schema", "--help")
    assert code == 0
    assert "# yaml-language-server: $schema=chains.schema.json" in out
