"""What chains.yaml is refused for: each with line, column, path and words that help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperguild.config.loader import MAX_BYTES, load_config
from hyperguild.errors import ConfigError

Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  cloud: {kind: anthropic, base_url: "https://api.anthropic.com", api_key_env: ANTHROPIC_API_KEY}
verifiers: {default: {judge: qwen}}
"""


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file(refuse: Refuse) -> None:
    assert refuse(
        """\
        version: 1
        endpoints:
          swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080", max_concurrency: 0}
        models:
          phi4: {endpoint: swop}
        verifiers: {default: {judge: qwen}}
        chains:
          code:
            tiers:
              - phi4
              - {modle: qwen}
          empty: []
          empty: [phi4]
        skills: {review: {chain: cod}}
        """
    ) == [
        "chains.yaml:3:80: endpoints.swap.max_concurrency: must be at least 1",
        'chains.yaml:5:20: models.phi4.endpoint: unknown endpoint "swop"; did you mean "swap"?',
        'chains.yaml:11:10: chains.code.tiers.1.modle: unknown key; did you mean "model"?',
        "chains.yaml:12:10: chains.empty: must not be empty",
        "chains.yaml:13:3: chains.empty: duplicate key; it stands on line 12 already",
        'chains.yaml:14:26: skills.review.chain: unknown chain "cod"; did you mean "code"?',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chains: {a: [qwen]}\nbogus: 1\n", "7:1: bogus: unknown key"),
        ("chains: {}\n", "6:9: chains: must not be empty"),
        ("chains: {a: {tiers: []}}\n", "6:21: chains.a.tiers: must not be empty"),
        ("chains: {a: qwen}\n", "6:13: chains.a: must be a list of models, or a mapping"),
        ("chains: {a: [[qwen]]}\n", "6:14: chains.a.0: must be the name of a model, or a mapping"),
        ("chains: {a: {verifier: default}}\n", "6:10: chains.a.tiers: required"),
        (
            "chains: {a: {tiers: [qwen], verifier: defualt}}\n",
            '6:39: chains.a.verifier: unknown verifier "defualt"; did you mean "default"?',
        ),
        (
            "chains: {a: [{model: qwen, when_cold: skp}]}\n",
            '6:39: chains.a.0.when_cold: must be wait, skip or hedge; did you mean "skip"?',
        ),
        ("chains: {a: [{model: qwen, attempts: 0}]}\n", "6:38: chains.a.0.attempts: must be at least 1"),
        ("chains: {a: [{model: qwen, retries: 11}]}\n", "6:37: chains.a.0.retries: must be at most 10"),
        ("chains: {a: [{model: qwen, timeout_s: 0}]}\n", "6:39: chains.a.0.timeout_s: must be more than 0"),
        (
            "chains: {a: [{model: qwen, timeout_s: .inf}]}\n",
            "6:39: chains.a.0.timeout_s: must be a finite number",
        ),
        (
            "chains: {a: [{model: qwen, attempts: 1.5}]}\n",
            "6:38: chains.a.0.attempts: must be a whole number",
        ),
        (
            'chains: {a: [{model: qwen, attempts: "2"}]}\n',
            "6:38: chains.a.0.attempts: must be a whole number",
        ),
        ("chains: {a: [{model: qwen, verify: maybe}]}\n", "6:36: chains.a.0.verify: must be true or false"),
        (
            "chains: {a: [{model: qwen, params: {temprature: 1}}]}\n",
            '6:37: chains.a.0.params.temprature: unknown key; did you mean "temperature"?',
        ),
        (
            "chains: {a: [{model: qwen, params: {temperature: 3}}]}\n",
            "6:50: chains.a.0.params.temperature: must be at most 2",
        ),
        (
            "chains: {a: {tiers: [qwen], feedback: {max_chars: 10}}}\n",
            "6:51: chains.a.feedback.max_chars: must be at least 200",
        ),
        (
            "chains: {a: {tiers: [qwen], on_exhausted: bets}}\n",
            '6:43: chains.a.on_exhausted: must be error or best; did you mean "best"?',
        ),
        (
            "chains: {a: [qwen]}\nskills: {review: {chain: b}}\n",
            '7:26: skills.review.chain: unknown chain "b"',
        ),
        ("chains: {a: [qwen]}\nlog: {keep_days: 0}\n", "7:18: log.keep_days: must be at least 1"),
        (
            "chains: {a: [qwen]}\nmodels: {m: {endpoint: 4}}\n",
            "7:24: models.m.endpoint: must be text; quote it if it looks like a number or a word such as yes",
        ),
        (
            "chains: {a: [qwen]}\nmodels: {m: {endpoint: swap, price: {input: 1}}}\n",
            "7:30: models.m.price.output: required",
        ),
        (
            "chains: {a: [qwen]}\nmodels: {m: {endpoint: swap, gguf: a.gguf}}\n",
            "7:30: models.m.gguf: is for endpoints of kind embedded",
        ),
    ],
)
def test_a_mistake_in_chains_models_and_skills(refuse: Refuse, text: str, problem: str) -> None:
    assert refuse(HEAD + text) == [f"chains.yaml:{problem}"]


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("{kind: length}", "0: needs min_chars or max_chars"),
        (
            "{kind: length, min_chars: 5, max_chars: 4}",
            "0: has a min_chars above its max_chars: no answer could pass",
        ),
        (
            "{kind: regexp}",
            (
                "0.kind: must be not_empty, complete, regex, length, json_schema, python_syntax or command; "
                'did you mean "regex"?'
            ),
        ),
        ("{pattern: a}", "0.kind: required, as text"),
        ("not_empty", "0: must be a mapping"),
        ('{kind: regex, pattern: "("}', "0.pattern: is not a regular expression: missing ) at position 1"),
        ("{kind: regex, patern: a}", '0.patern: unknown key; did you mean "pattern"?'),
        ("{kind: command, argv: []}", "0.argv: must not be empty"),
        ("{kind: command, argv: ls}", "0.argv: must be a list"),
        (
            "{kind: json_schema, schema: 3}",
            "0.schema: must be the path of a JSON Schema beside chains.yaml, or the schema itself",
        ),
        (
            "{kind: json_schema, schema: {type: 3}}",
            "0.schema: is not a valid JSON Schema: anyOf is not met at type",
        ),
        ("{kind: json_schema, schema: ../x.json}", "0.schema: must stay inside the folder of chains.yaml"),
        (
            "{kind: json_schema, schema: /etc/passwd}",
            "0.schema: must stay inside the folder of chains.yaml",
        ),
        ("{kind: json_schema, schema: x.json}", "0.schema: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_in_a_check(refuse: Refuse, check: str, problem: str) -> None:
    head = HEAD.replace("{judge: qwen}", f"{{checks: [{check}]}}")
    (line,) = refuse(head + "chains: {a: [qwen]}\n")
    assert line.startswith("chains.yaml:5:")
    assert line.partition(": ")[2] == f"verifiers.default.checks.{problem}"


def test_a_schema_file_that_is_no_json_schema_is_reported_where_it_is_named(
    refuse: Refuse, tmp_path: Path
) -> None:
    text = (
        HEAD.replace("{judge: qwen}", "{checks: [{kind: json_schema, schema: s.json}]}")
        + "chains: {a: [qwen]}\n"
    )
    for content, words in (
        ("{", "is not JSON: Expecting property name enclosed in double quotes (line 1, column 2)"),
        ("[]", "is not a JSON Schema: it must be an object"),
        ('{"type": "strin"}', "is not a valid JSON Schema: anyOf is not met at type"),
        ("[" * 100_000, "cannot be read: it leads or nests without end"),
    ):
        (tmp_path / "s.json").write_text(content)
        assert refuse(text) == [f"chains.yaml:5:60: verifiers.default.checks.0.schema: {words}"]


def test_a_schema_file_must_not_lead_out_of_the_folder(refuse: Refuse, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.json"
    outside.write_text(json.dumps({}))
    (tmp_path / "s.json").symlink_to(outside)
    text = (
        HEAD.replace("{judge: qwen}", "{checks: [{kind: json_schema, schema: s.json}]}")
        + "chains: {a: [qwen]}\n"
    )
    assert refuse(text)[0].endswith("must stay inside the folder of chains.yaml")


def test_a_verifier_without_checks_and_judge_accepts_anything_so_it_is_refused(refuse: Refuse) -> None:
    head = HEAD.replace("{judge: qwen}", "{}")
    assert refuse(head + "chains: {a: [qwen]}\n") == [
        "chains.yaml:5:22: verifiers.default: has neither checks nor a judge: it would accept anything"
    ]


@pytest.mark.parametrize(
    ("judge", "problem"),
    [
        ("{model: q, accept_at: 1.5}", "accept_at: must be at most 1"),
        ("{model: q, votes: 0}", "votes: must be at least 1"),
        ("{model: q, votes: 10}", "votes: must be at most 9"),
        ("{model: q, prefer: hot}", "prefer: must be warm"),
        ("{model: q, on_error: fail}", "on_error: must be escalate, accept or retry"),
        ("{model: []}", "model: must not be empty"),
        ("[q, 3]", "1: must be text; quote it if it looks like a number or a word such as yes"),
        ("{modle: q}", 'modle: unknown key; did you mean "model"?'),
    ],
)
def test_a_mistake_in_a_judge(refuse: Refuse, judge: str, problem: str) -> None:
    (line,) = refuse(HEAD.replace("{judge: qwen}", f"{{judge: {judge}}}") + "chains: {a: [qwen]}\n")
    assert line.partition(": ")[2] == f"verifiers.default.judge.{problem}"


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("{kind: openai}", ".base_url: required"),
        ("{base_url: http://x}", ".kind: required, as text"),
        (
            "{kind: openai, base_url: ftp://x}",
            ".base_url: must begin with http:// or https://",
        ),
        ('{kind: openai, base_url: "http://"}', ".base_url: must name a host"),
        (
            '{kind: openai, base_url: "http://x:0"}',
            ".base_url: must have a port between 1 and 65535",
        ),
        (
            '{kind: openai, base_url: "http://x/v1?a=1"}',
            ".base_url: must not hold a query or a fragment",
        ),
        (
            "{kind: openai, base_url: http://x, argv: [a]}",
            ".argv: is not a key of kind openai",
        ),
        ("{kind: command, argv: [a], base_url: x}", ".base_url: is not a key of kind command"),
        ("{kind: command, argv: a}", ".argv: must be a list"),
        ("{kind: command, argv: []}", ".argv: must not be empty"),
        ("{kind: openai, base_url: http://x, ttl_s: 5}", ".ttl_s: is not a key of kind openai"),
        (
            "{kind: openai, base_url: http://x, api_key_env: A, api_key_file: b}",
            ": has api_key_env and api_key_file; keep one of them",
        ),
        (
            "{kind: openai, base_url: http://x, ca_file: no.pem}",
            ".ca_file: names no file that can be read",
        ),
        (
            "{kind: openai, base_url: http://x, redact: no}",
            ".redact: must be auto, always or never",
        ),
        ("[openai]", ": must be a mapping"),
    ],
)
def test_a_mistake_in_an_endpoint(refuse: Refuse, endpoint: str, problem: str) -> None:
    (line,) = refuse(
        f"version: 1\nendpoints:\n  e: {endpoint}\nchains: {{a: [{{model: e/m, verify: false}}]}}\n"
    )
    assert line.startswith("chains.yaml:3:")
    assert line.partition(": ")[2] == f"endpoints.e{problem}"


def test_a_local_tier_without_a_verifier(refuse: Refuse) -> None:
    head = HEAD.replace("verifiers: {default: {judge: qwen}}\n", "")
    (line,) = refuse(head + "chains: {a: [claude-x, qwen, {model: qwen, verify: false}]}\n")
    assert line.startswith(
        "chains.yaml:5:24: chains.a.1: is local, so its answers are verified, but there is no verifier"
    )


def test_a_cloud_tier_that_is_to_be_verified_without_a_verifier(refuse: Refuse) -> None:
    head = HEAD.replace("verifiers: {default: {judge: qwen}}\n", "")
    (line,) = refuse(head + "chains: {a: [{model: claude-x, verify: true}]}\n")
    assert "chains.a.0: is to be verified, but there is no verifier" in line


def test_a_budget_in_usd_over_cloud_models_without_a_price(refuse: Refuse) -> None:
    head = HEAD.replace("judge: qwen", "judge: claude-judge")
    lines = refuse(head + "chains: {a: {budget: {cost_usd: 1}, tiers: [qwen, claude-x]}}\n")
    assert [line.partition(" has ")[0].partition(" cannot")[0] for line in lines] == [
        "chains.yaml:6:33: chains.a.budget.cost_usd:",
        "chains.yaml:6:51: chains.a.tiers.1:",
    ]
    assert 'the judge "claude-judge" has no price' in lines[0]
    assert '"claude-x" has no price: add models.claude-x.price' in lines[1]


def test_a_name_that_no_endpoint_follows_from(refuse: Refuse) -> None:
    only_openai = "version: 1\nendpoints: {e: {kind: openai, base_url: http://x}}\n"
    (claude,) = refuse(only_openai + "chains: {a: [claude-x]}\n")
    assert 'model "claude-x" is not under models, and there is no anthropic or command endpoint' in claude
    (other,) = refuse(only_openai + "chains: {a: [phi4]}\n")
    assert "there is no llama-swap endpoint" in other
    assert 'models: {"phi4": {endpoint: …}}' in other
    two = HEAD.replace("  cloud:", '  swap2: {kind: llama-swap, base_url: "http://127.0.0.1:8081"}\n  cloud:')
    lines = refuse(two + "chains: {a: [{model: phi4, verify: false}]}\n")
    assert len(lines) == 2
    assert '"phi4" could be of endpoint "swap" or "swap2"' in lines[1]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("base_url: http://x", "base_url: is not a key of kind embedded"),
        ("max_loaded: 0", "max_loaded: must be at least 1"),
        ("ttl_s: 0", "ttl_s: must be more than 0"),
        ("ttl_s: .inf", "ttl_s: must be a finite number"),
        ("slots: 1.5", "slots: must be a whole number"),
        ("threads: 0", "threads: must be at least 1"),
        ("keep: 1", "keep: must be true or false"),
        ("max_load: 2", 'max_load: unknown key; did you mean "max_loaded"?'),
    ],
)
def test_a_mistake_in_an_embedded_endpoint(refuse: Refuse, settings: str, problem: str) -> None:
    (line,) = refuse(
        f"version: 1\nendpoints:\n  e: {{kind: embedded, {settings}}}\n"
        "models: {m: {endpoint: e, gguf: m.gguf}}\nchains: {a: [{model: m, verify: false}]}\n"
    )
    assert line.startswith("chains.yaml:3:")
    assert line.partition(": ")[2] == f"endpoints.e.{problem}"


def test_an_embedded_model_without_a_file(refuse: Refuse) -> None:
    head = "version: 1\nendpoints: {here: {kind: embedded}}\n"
    assert refuse(head + "models: {m: {endpoint: here}}\nchains: {a: [{model: m, verify: false}]}\n") == [
        'chains.yaml:3:10: models.m.gguf: required: the model file, since endpoint "here" is embedded'
    ]
    assert refuse(head + "chains: {a: [{model: here/m, verify: false}]}\n") == [
        (
            'chains.yaml:3:22: chains.a.0.model: no model file follows from "here/m", and endpoint "here" is '
            'embedded; add models: {"here/m": {endpoint: "here", gguf: …}}'
        )
    ]
    (line,) = refuse(
        head + "models: {m: {endpoint: here, gguf: 5}}\nchains: {a: [{model: m, verify: false}]}\n"
    )
    assert line.startswith("chains.yaml:3:36: models.m.gguf: must be text")


def test_what_follows_from_a_refused_part_is_not_reported_again(refuse: Refuse) -> None:
    text = """\
    version: 1
    endpoints:
      swap: {kind: llama-swop, base_url: "http://127.0.0.1:8080"}
    models:
      phi4: {endpoint: swap}
    verifiers: {default: {judge: qwen}}
    chains: {default: [phi4, qwen]}
    """
    assert len(refuse(text)) == 1


@pytest.mark.parametrize("version", ["2", '"1"', "true", "1.0"])
def test_another_version(refuse: Refuse, version: str) -> None:
    text = HEAD.replace("version: 1", f"version: {version}") + "chains: {a: [qwen]}\n"
    assert refuse(text) == [
        "chains.yaml:1:10: version: must be 1, the version of the format that is read here"
    ]


def test_a_missing_part_of_the_root(refuse: Refuse) -> None:
    assert refuse("version: 1\n") == [
        "chains.yaml:1:1: chains: required",
        "chains.yaml:1:1: endpoints: required",
    ]
    assert refuse("") == ["chains.yaml:1:1: must be a mapping"]


def test_yaml_that_does_not_parse_is_the_only_problem(refuse: Refuse) -> None:
    assert refuse("a: [1,\nb: }\n") == [
        "chains.yaml:2:4: not valid YAML: expected the node content, but found '}'"
    ]
    assert refuse("a:\n\tb: 1\n") == [
        "chains.yaml:2:1: not valid YAML: a tab cannot be used for indentation; use spaces"
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "chains.yaml"
    with pytest.raises(ConfigError, match=r"chains\.yaml cannot be read: No such file"):
        load_config(path, {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path, {})
    path.write_bytes(b"version: 1\na: \xff")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value.problems[0]).endswith("chains.yaml:2:4: is not UTF-8")
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.problems[0].message == f"is larger than {MAX_BYTES} bytes"


def test_what_is_refused_hides_no_other_mistake(refuse: Refuse) -> None:
    problems = refuse(
        """\
        version: 1
        endpoints:
          swap: {kind: lama-swap, base_url: "x"}
        models:
          m: {endpoint: swop, context_windw: 5}
        chains:
          c: {tiers: [{modle: m}], verifier: nope}
        skills:
          review: {chain: d}
        """
    )
    assert [problem.partition(": ")[2].partition(": ")[0] for problem in problems] == [
        "endpoints.swap.kind",
        "models.m.endpoint",
        "models.m.context_windw",
        "chains.c.tiers.0.modle",
        "chains.c.verifier",
        "skills.review.chain",
    ]
