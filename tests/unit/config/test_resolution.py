"""What a chains.yaml comes to: defaults, inference, labels, merging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.domain.chain import (
    DEFAULT_EMBEDDED_WINDOW,
    Budget,
    CommandCheck,
    CompleteCheck,
    EngineSettings,
    FeedbackPolicy,
    JsonSchemaCheck,
    KeySource,
    LengthCheck,
    LogPolicy,
    NotEmptyCheck,
    PythonSyntaxCheck,
    RegexCheck,
    RetryPolicy,
    TimeLimits,
)
from hyperguild.domain.usage import Price
from hyperguild.errors import ConfigError

Load = Callable[..., Configuration]
REPOSITORY = Path(__file__).parents[3]

CONTRACT = """\
version: 1
endpoints:
  swap:      {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  anthropic: {kind: anthropic,  base_url: "https://api.anthropic.com", api_key_env: ANTHROPIC_API_KEY}
  openai:    {kind: openai,     base_url: "https://api.openai.com/v1", api_key_env: OPENAI_API_KEY}
  claude:    {kind: command,    argv: [claude, -p, --output-format, json, --model, "{model}"]}
models:
  phi4:              {endpoint: swap, upstream: phi-4-q4, context_window: 16384, max_output_tokens: 2048}
  qwen-coder-32b:    {endpoint: swap, context_window: 32768, params: {temperature: 0.2},
                      extra_body: {chat_template_kwargs: {enable_thinking: false}}}
  qwen3-8b:          {endpoint: swap}
  claude-sonnet-4-6: {endpoint: anthropic, context_window: 200000,
                      price: {input: 3.0, output: 15.0, cached_input: 0.3, cache_write: 3.75}}
verifiers:
  default: {judge: qwen3-8b}
  strict:
    checks:
      - {kind: not_empty}
      - {kind: complete}
      - {kind: regex, pattern: "^## ", expect: match}
      - {kind: length, max_chars: 20000}
      - {kind: json_schema, schema: review.schema.json}
      - {kind: python_syntax}
      - {kind: command, argv: [scripts/check-answer], timeout_s: 30}
    judge: {model: [qwen3-8b, phi4], accept_at: 0.7, votes: 1, on_error: escalate, rubric: "..."}
chains:
  default: [phi4, claude-sonnet-4-6]
  code:
    verifier: strict
    feedback: {answers: last, max_chars: 6000}
    budget: {cost_usd: 0.50, seconds: 300, attempts: 6}
    on_exhausted: error
    tiers:
      - phi4
      - {model: qwen-coder-32b, when_cold: wait, attempts: 2, timeout_s: 300,
         load_timeout_s: 300, first_token_timeout_s: 60}
      - {model: claude-sonnet-4-6, verify: false}
skills:
  review: {chain: code}
log: {content: full, keep_days: 365}
"""

HEAD = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  cloud: {kind: anthropic, base_url: "https://api.anthropic.com"}
  openai: {kind: openai, base_url: "https://api.openai.com/v1"}
  lan: {kind: openai, base_url: "http://192.168.1.9:8080/v1"}
verifiers: {default: {judge: qwen}}
"""


def test_the_contracts_own_example(load: Load, tmp_path: Path) -> None:
    (tmp_path / "review.schema.json").write_text('{"type": "object"}')
    configuration = load(CONTRACT)
    assert configuration.verifiers["strict"].checks == (
        NotEmptyCheck(),
        CompleteCheck(),
        RegexCheck(pattern="^## ", expect="match"),
        LengthCheck(max_chars=20000),
        JsonSchemaCheck(schema={"type": "object"}),
        PythonSyntaxCheck(),
        CommandCheck(argv=("scripts/check-answer",), folder=tmp_path, timeout_s=30),
    )
    judge = configuration.verifiers["strict"].judge
    assert judge is not None
    assert [model.name for model in judge.models] == ["qwen3-8b", "phi4"]
    code = configuration.chains["code"]
    assert [tier.model.name for tier in code.tiers] == ["phi4", "qwen-coder-32b", "claude-sonnet-4-6"]
    assert [tier.verify for tier in code.tiers] == [True, True, False]
    assert [tier.model.label for tier in code.tiers] == ["local", "local", "subagent"]
    assert (code.budget, code.tiers[1].attempts) == (Budget(cost_usd=0.5, seconds=300, attempts=6), 2)
    assert configuration.models["phi4"].upstream == "phi-4-q4"
    assert configuration.models["claude-sonnet-4-6"].price == Price(3.0, 15.0, 0.3, 3.75)
    assert configuration.endpoints["anthropic"].key == KeySource(env="ANTHROPIC_API_KEY")
    assert configuration.endpoints["claude"].argv[-1] == "{model}"
    assert configuration.skill_chains == {"review": "code"}


def test_defaults(load: Load) -> None:
    configuration = load(HEAD + "chains: {a: [qwen]}\n")
    chain = configuration.chains["a"]
    (tier,) = chain.tiers
    assert (chain.feedback, chain.budget, chain.on_exhausted) == (
        FeedbackPolicy("last", 6000),
        Budget(),
        "error",
    )
    assert (tier.when_cold, tier.attempts, tier.verify) == ("wait", 1, True)
    assert tier.limits == TimeLimits(total_s=600, load_s=300, first_token_s=60, silence_s=60)
    assert tier.retry == RetryPolicy(retries=2, wait_max_s=5)
    assert chain.verifier == configuration.verifiers["default"]
    judge = configuration.verifiers["default"].judge
    assert judge is not None
    assert (judge.accept_at, judge.votes, judge.on_error, judge.prefer_warm) == (0.7, 1, "escalate", False)
    swap = configuration.endpoints["swap"]
    assert (swap.max_concurrency, swap.connect_timeout_s, swap.probe_timeout_ms) == (8, 2.0, 200)
    assert (swap.redact, swap.key, swap.headers) == ("auto", None, {})
    model = configuration.models["qwen"]
    assert (model.vision, model.tools, model.json_schema) == (False, True, True)
    assert configuration.log == LogPolicy("full", 365)


@pytest.mark.parametrize(
    ("name", "endpoint", "upstream", "label"),
    [
        ("claude-opus", "cloud", "claude-opus", "subagent"),
        ("openai/gpt-5", "openai", "gpt-5", "managed"),
        ("lan/org/model", "lan", "org/model", "local"),
        ("swap/claude-like", "swap", "claude-like", "local"),
        ("org/model", "swap", "org/model", "local"),
        ("qwen", "swap", "qwen", "local"),
    ],
)
def test_names_that_are_not_declared(load: Load, name: str, endpoint: str, upstream: str, label: str) -> None:
    configuration = load(HEAD + f"chains: {{a: [{name}]}}\n")
    model = configuration.models[name]
    assert (model.endpoint.name, model.upstream, model.label) == (endpoint, upstream, label)
    assert configuration.model(name) == model


def test_claude_without_anthropic_is_the_command(load: Load) -> None:
    head = HEAD.replace(
        '{kind: anthropic, base_url: "https://api.anthropic.com"}', '{kind: command, argv: ["c"]}'
    )
    assert load(head + "chains: {a: [claude-x]}\n").models["claude-x"].endpoint.kind == "command"


def test_a_declared_name_is_not_inferred(load: Load) -> None:
    configuration = load(HEAD + "models: {claude-x: {endpoint: lan}}\nchains: {a: [claude-x]}\n")
    assert configuration.models["claude-x"].endpoint.name == "lan"
    assert configuration.models["claude-x"].label == "subagent"


def test_a_label_given_on_the_entry_wins_and_decides_about_verifying(load: Load) -> None:
    configuration = load(
        HEAD
        + "chains: {a: [{model: qwen, tier: managed}, {model: openai/x, tier: local}, "
        + "{model: openai/x, verify: true}]}\n"
    )
    assert [(tier.model.label, tier.verify) for tier in configuration.chains["a"].tiers] == [
        ("managed", False),
        ("local", True),
        ("managed", True),
    ]
    assert configuration.models["qwen"].label == "local"


def test_a_label_on_a_model_wins_over_the_rules_and_a_tiers_over_that(load: Load) -> None:
    configuration = load(
        HEAD
        + "models: {claude-x: {endpoint: lan, tier: local}, far: {endpoint: openai}}\n"
        + "chains: {a: [claude-x, {model: claude-x, tier: managed}, far]}\n"
    )
    assert [(tier.model.label, tier.verify) for tier in configuration.chains["a"].tiers] == [
        ("local", True),
        ("managed", False),
        ("managed", False),
    ]
    assert configuration.models["claude-x"].label == "local"


def test_params_and_extra_body_of_a_tier_and_a_judge_win_key_by_key(load: Load) -> None:
    configuration = load(
        """\
        version: 1
        endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
        models:
          m: {endpoint: swap, params: {temperature: 1, top_k: 5, stop: END}, extra_body: {a: 1, b: {c: 1}}}
        verifiers: {default: {judge: {model: m, params: {temperature: 0}, prefer: warm, timeout_s: 7}}}
        chains: {a: [{model: m, params: {top_k: 9, stop: [X, Y]}, extra_body: {b: {d: 1}}}]}
        """
    )
    tier = configuration.chains["a"].tiers[0]
    assert tier.model.params == {"temperature": 1, "top_k": 9, "stop": ["X", "Y"]}
    assert tier.model.extra_body == {"a": 1, "b": {"d": 1}}
    judge = configuration.verifiers["default"].judge
    assert judge is not None
    assert judge.models[0].params == {"temperature": 0, "top_k": 5, "stop": ["END"]}
    assert (judge.prefer_warm, judge.limits.total_s) == (True, 7)
    assert configuration.models["m"].params == {"temperature": 1, "top_k": 5, "stop": ["END"]}


def test_files_are_found_from_the_folder_of_the_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    endpoint = "{kind: openai, base_url: http://x, ca_file: ca.pem, api_key_file: %s}"
    text = "version: 1\nendpoints: {a: " + endpoint % "key" + ", b: " + endpoint % "~/key" + "}\n"
    text += "chains: {a: [{model: a/m, verify: false}]}\n"
    endpoints = load(text, HOME="/home/me").endpoints
    assert endpoints["a"].ca_file == tmp_path / "ca.pem"
    assert endpoints["a"].key == KeySource(file=tmp_path / "key")
    assert endpoints["b"].key == KeySource(file=Path("/home/me/key"))


EMBEDDED = """\
version: 1
endpoints:
  here: {kind: embedded}
  other: {kind: embedded, max_loaded: 3, ttl_s: 0.5, slots: 4, threads: 2, keep: true}
models:
  tiny: {endpoint: here, gguf: models/tiny.gguf}
  large: {endpoint: other, gguf: ~/large.gguf, context_window: 512}
  judge: {endpoint: other, gguf: /models/judge.gguf}
verifiers: {default: {judge: {model: judge, params: {temperature: 0}}}}
chains: {a: [{model: tiny, when_cold: skip}, large]}
"""


class TestEmbedded:
    def test_endpoints_have_an_engine_and_no_address(self, load: Load) -> None:
        endpoints = load(EMBEDDED).endpoints
        assert (endpoints["here"].base_url, endpoints["here"].engine) == (None, EngineSettings())
        assert endpoints["here"].engine == EngineSettings(1, 300, 1, None, keep=False)
        assert endpoints["other"].engine == EngineSettings(3, 0.5, 4, 2, keep=True)

    def test_models_have_a_file_and_a_window(self, load: Load, tmp_path: Path) -> None:
        configuration = load(EMBEDDED, HOME="/home/me")
        models = configuration.models
        assert {name: model.gguf for name, model in models.items()} == {
            "tiny": tmp_path / "models" / "tiny.gguf",
            "large": Path("/home/me/large.gguf"),
            "judge": Path("/models/judge.gguf"),
        }
        assert (models["tiny"].context_window, models["large"].context_window) == (
            DEFAULT_EMBEDDED_WINDOW,
            512,
        )
        assert {model.label for model in models.values()} == {"local"}

    def test_they_keep_both_in_chains_and_as_judges(self, load: Load) -> None:
        configuration = load(EMBEDDED)
        first, second = configuration.chains["a"].tiers
        assert (first.when_cold, first.probed, first.verify) == ("skip", True, True)
        assert (first.model.gguf, second.model.gguf) == (
            configuration.models["tiny"].gguf,
            configuration.models["large"].gguf,
        )
        verifier = configuration.chains["a"].verifier
        assert verifier is not None
        assert verifier.judge is not None
        assert verifier.judge.models[0].gguf == Path("/models/judge.gguf")

    def test_they_need_no_trust(self, load: Load) -> None:
        assert load(EMBEDDED).powers == ()

    def test_others_have_neither_file_nor_window(self, load: Load) -> None:
        model = load(HEAD + "chains: {a: [qwen]}\n").models["qwen"]
        assert (model.gguf, model.context_window) == (None, None)

    def test_the_only_llama_swap_still_takes_the_other_names(self, load: Load) -> None:
        text = HEAD.replace("endpoints:\n", "endpoints:\n  here: {kind: embedded}\n")
        assert load(text + "chains: {a: [qwen]}\n").models["qwen"].endpoint.name == "swap"


def test_empty_sections_are_left_out(load: Load) -> None:
    assert load(
        "version: 1\nendpoints: {c: {kind: command, argv: [x]}}\nmodels:\nskills:\nchains: {a: [claude-x]}\n"
    )


class TestChainFor:
    TEXT = HEAD + "skills: {review: {chain: b}}\n"

    def test_the_order(self, load: Load) -> None:
        configuration = load(self.TEXT + "chains: {default: [qwen], b: [qwen], c: [qwen]}\n")
        assert configuration.chain_for("review", "c").name == "c"
        assert configuration.chain_for("review").name == "b"
        assert configuration.chain_for("other").name == "default"

    def test_the_only_chain(self, load: Load) -> None:
        assert load(self.TEXT + "chains: {b: [qwen]}\n").chain_for("other").name == "b"

    def test_none(self, load: Load) -> None:
        configuration = load(self.TEXT + "chains: {b: [qwen], code: [qwen]}\n")
        with pytest.raises(ConfigError, match='which chain the skill "other" uses') as caught:
            configuration.chain_for("other")
        assert caught.value.hint is not None
        assert '"b" or "code"' in caught.value.hint
        with pytest.raises(ConfigError, match='no chain "cod"; did you mean "code"'):
            configuration.chain_for("review", "cod")


def test_a_model_that_is_in_no_chain(load: Load) -> None:
    configuration = load(HEAD + "chains: {a: [qwen]}\n")
    assert configuration.model("openai/gpt-5").upstream == "gpt-5"
    with pytest.raises(ConfigError, match="names no model after"):
        configuration.model("openai/")


def test_the_repositorys_own_file_loads_and_needs_no_trust() -> None:
    configuration = load_config(REPOSITORY / "chains.yaml", {})
    assert configuration.powers == ()
    assert set(configuration.chains) == {"default", "code"}
    assert set(configuration.verifiers) == {"default", "strict"}
    skills = {path.name for path in (REPOSITORY / "skills").iterdir() if path.is_dir()}
    assert set(configuration.skill_chains) <= skills
