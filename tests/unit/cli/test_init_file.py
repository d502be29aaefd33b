from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.adapters.probes import EndpointInventory, ListedModel
from hyperguild.cli.init_choices import (
    choosable,
    cloud_of,
    default_judge,
    default_order,
    is_for_chat,
    parse_model,
    parse_order,
)
from hyperguild.cli.init_file import (
    Answers,
    Cloud,
    Provider,
    Server,
    chains_yaml,
    cloud_name,
    group_snippet,
    is_usable,
    scalar,
)
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.errors import UsageError

SERVER = Server("http://127.0.0.1:8080")


def loaded(answers: Answers) -> Configuration:
    return load_config_text(chains_yaml(answers), Path("/nowhere/chains.yaml"), {})


def inventory(*models: ListedModel | str) -> EndpointInventory:
    listed = [ListedModel(model, "model", "cold") if isinstance(model, str) else model for model in models]
    return EndpointInventory("swap", None, tuple(listed))


FLEET = inventory(
    ListedModel("phi-4-q4", "model", "cold", aliases=("phi4",)),
    "qwen-coder-32b",
    ListedModel("qwen3-8b", "model", "ready"),
    ListedModel("big/llama", "peer", None),
    "nomic-embed-text",
)


def test_local_models_then_a_cloud_model_with_window_and_price() -> None:
    file = loaded(Answers(SERVER, ("phi4", "qwen"), "judge-8b", Cloud("anthropic", "claude-sonnet-4-6")))
    chain = file.chain_for("review")
    assert [tier.model.name for tier in chain.tiers] == ["phi4", "qwen", "claude-sonnet-4-6"]
    assert [tier.verify for tier in chain.tiers] == [True, True, False]
    assert chain.verifier is not None
    assert chain.verifier.judge is not None
    assert [model.name for model in chain.verifier.judge.models] == ["judge-8b"]
    cloud = chain.tiers[2].model
    assert cloud.context_window == 200_000
    assert cloud.price is not None
    assert cloud.price.output == 15.0
    assert cloud.endpoint.key is not None
    assert cloud.endpoint.key.env == "ANTHROPIC_API_KEY"
    assert file.powers == ()


def test_what_stands_in_comments_is_accepted_as_well() -> None:
    text = chains_yaml(Answers(SERVER, ("phi4",), "judge-8b", None))
    for commented in ("# default: {checks", "# skills: {"):
        assert text.count(commented) == 1
        text = text.replace(commented, commented[2:])
    # In place of the default without checks.
    text = text.replace("  default: {judge: judge-8b}\n", "")
    assert "context_window: 16384" in text
    file = load_config_text(text, Path("/nowhere/chains.yaml"), {})
    assert len(file.verifiers["default"].checks) == 1
    assert file.skill_chains == {"review": "default"}


def test_a_cloud_chain_needs_neither_server_nor_verifier() -> None:
    file = loaded(Answers(None, (), None, Cloud("openai", "gpt-5-mini")))
    assert list(file.endpoints) == ["openai"]
    assert not file.verifiers
    assert [tier.model.upstream for tier in file.chain_for("review").tiers] == ["gpt-5-mini"]


def test_a_cloud_model_that_nothing_is_known_of_has_no_price() -> None:
    file = loaded(Answers(None, (), None, Cloud("openai", "gpt-next")))
    assert file.models["gpt-next"].price is None
    assert file.models["gpt-next"].context_window is None


def test_the_key_of_a_server_on_the_network_is_a_power() -> None:
    file = loaded(Answers(Server("http://192.168.1.20:8080", "SWAP_KEY"), ("a",), "a", None))
    assert [power.exact for power in file.powers] == [
        ("send", "api_key_env", "SWAP_KEY", "http://192.168.1.20:8080")
    ]


def test_a_local_model_with_a_cloud_name_is_judged_and_stays_apart_from_its_namesake() -> None:
    name = "claude-sonnet-4-6"
    answers = Answers(SERVER, (name,), "judge", Cloud("anthropic", name))
    tiers = loaded(answers).chain_for("review").tiers
    assert [tier.model.endpoint.name for tier in tiers] == ["swap", "anthropic"]
    assert [tier.model.upstream for tier in tiers] == [name, name]
    assert [tier.verify for tier in tiers] == [True, False]
    assert cloud_name(answers) == f"anthropic/{name}"


def test_the_cloud_model_can_be_the_judge() -> None:
    file = loaded(Answers(SERVER, ("a",), "gpt-5-mini", Cloud("openai", "gpt-5-mini")))
    judge = file.verifiers["default"].judge
    assert judge is not None
    assert judge.models[0].endpoint.name == "openai"


def test_a_dollar_in_the_address_is_meant_as_it_is() -> None:
    file = loaded(Answers(Server("http://127.0.0.1:8080/${HOME}"), ("a",), "a", None))
    assert file.endpoints["swap"].base_url == "http://127.0.0.1:8080/${HOME}"


@pytest.mark.parametrize(
    "name",
    ["hf.co/x:Q4 #1", "yes", "null", "123", "1e3", "a, b", "[x]", "{x}", "-", "? a", "'", '"', "a: b", "&a",
     "*a", "!t", "%x", "@x", "`x`", "|", ">", "=", "<<", "~", "ü ñ 日本", "🦙", "\\n", "2024-01-01",
     "swap/x"],
)  # fmt: skip
def test_odd_names_come_through(name: str) -> None:
    file = loaded(Answers(SERVER, (name,), name, None))
    tier = file.chain_for("review").tiers[0]
    assert (tier.model.name, tier.model.upstream, tier.model.endpoint.name) == (name, name, "swap")


NAMES = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=200).filter(
    lambda name: is_usable(name) and not name.startswith("sk-")
)


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), NAMES, st.sampled_from(["anthropic", "openai"]))
def test_whatever_the_names_are_the_file_is_accepted(
    order: list[str], judge: str, provider: Provider
) -> None:
    answers = Answers(SERVER, tuple(order), judge, Cloud(provider, order[0]))
    file = loaded(answers)
    chain = file.chain_for("review")
    assert [tier.model.upstream for tier in chain.tiers] == [*order, order[0]]
    assert chain.verifier is not None
    assert chain.verifier.judge is not None
    assert chain.verifier.judge.models[0].upstream == judge


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_a_scalar_is_one_line_and_means_the_text(text: str) -> None:
    assert len(f"[{scalar(text)}]".splitlines()) == 1
    assert yaml.safe_load(f"{{{scalar('key')}: {scalar(text)}}}") == {"key": text}


def test_the_group_is_what_llama_swap_takes() -> None:
    assert yaml.safe_load(group_snippet(["judge", "a #1", "judge"])) == {
        "groups": {"hyperguild": {"swap": False, "members": ["judge", "a #1"]}}
    }


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "\x1b[31m", "x" * 201])
def test_names_that_chains_yaml_does_not_take(name: str) -> None:
    assert not is_usable(name)
    assert choosable(inventory(name, "good")) == inventory("good").models


@pytest.mark.parametrize(
    ("name", "chats"),
    [
        ("nomic-embed-text", False),
        ("bge-m3", False),
        ("qwen3-reranker", False),
        ("whisper-large", False),
        ("llama-guard-3", False),
        ("phi-4", True),
        ("qwen3-8b", True),
        ("settings-7b", True),
    ],
)
def test_models_that_are_not_for_chat(name: str, *, chats: bool) -> None:
    assert is_for_chat(ListedModel(name, "model", "cold")) is chats


def test_the_proposed_order_has_the_servers_own_chat_models() -> None:
    assert default_order(choosable(FLEET)) == ("phi-4-q4", "qwen-coder-32b")
    assert default_order(choosable(FLEET), "phi-4-q4") == ("qwen-coder-32b", "qwen3-8b")
    assert default_order(choosable(FLEET), "gpt-5") == ("phi-4-q4", "qwen-coder-32b", "qwen3-8b")
    assert default_order(inventory("phi").models) == ("phi",)
    assert default_order(inventory("phi", "prometheus-judge").models) == ("phi",)
    assert default_order(inventory("judge").models) == ("judge",)
    assert default_order(inventory("bge-m3").models) == ()


def test_the_proposed_judge() -> None:
    models = choosable(FLEET)
    assert default_judge(models, ()) is None
    assert default_judge(models, ("phi-4-q4",)) == "qwen3-8b"  # loaded already
    assert default_judge(models, ("qwen3-8b", "phi-4-q4")) == "qwen-coder-32b"
    assert default_judge(models, default_order(models)) == "qwen3-8b"  # the last, which does not work
    assert default_judge(models, ("phi-4-q4", "qwen-coder-32b", "qwen3-8b")) == "qwen3-8b"  # the last
    assert default_judge(inventory("a", "b", "my-judge").models, ("a",)) == "my-judge"


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("phi4, qwen3-8b", ("phi-4-q4", "qwen3-8b")),
        ("3 1", ("qwen3-8b", "phi-4-q4")),
        (" 2 ", ("qwen-coder-32b",)),
        ("big/llama,phi-4-q4,", ("big/llama", "phi-4-q4")),
    ],
)
def test_an_order_is_read(text: str, order: tuple[str, ...]) -> None:
    assert parse_order(text, FLEET) == order


def test_a_name_with_spaces_is_one_name_and_names_win_over_numbers() -> None:
    assert parse_order("my model", inventory("my model", "my")) == ("my model",)
    assert parse_model("2", inventory("2", "x")) == "2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("qwen3-9b", 'did you mean "qwen3-8b"?'),
        ("6", 'no model "6"'),
        ("0", 'no model "0"'),
        ("1,phi4", 'names "phi-4-q4" twice'),
        (" , ", "names no model"),
        ("99999999999999999999", "no model"),
    ],
)
def test_an_order_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=r".") as caught:
        parse_order(text, FLEET)
    assert says in caught.value.message


def test_the_cloud_follows_the_flags_and_then_the_keys() -> None:
    keys = {"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "y"}
    assert cloud_of(None, None, {}) is None
    assert cloud_of(None, None, keys) == Cloud("anthropic", "claude-sonnet-4-6")
    assert cloud_of(None, None, {"OPENAI_API_KEY": "y"}) == Cloud("openai", "gpt-5-mini")
    assert cloud_of("none", None, keys) is None
    assert cloud_of("openai", None, keys) == Cloud("openai", "gpt-5-mini")
    assert cloud_of(None, "claude-haiku-4-5", {}) == Cloud("anthropic", "claude-haiku-4-5")
    assert cloud_of(None, "gpt-5", keys) == Cloud("openai", "gpt-5")
    with pytest.raises(UsageError, match="exclude each other"):
        cloud_of("none", "gpt-5", {})
    with pytest.raises(UsageError, match="cannot be the name"):
        cloud_of("openai", "a\nb", {})
