"""A secret in clear is refused, and nothing ever repeats it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.errors import ConfigError

SECRET = "sk-ant-hunter2hunter2"
SHORT = "hunter2hunter2"
TEXT = """\
version: 1
endpoints:
  e: {{kind: openai, base_url: "http://127.0.0.1", {}}}
chains: {{a: [e/m]}}
verifiers: {{default: {{judge: e/j}}}}
"""


def everything_said(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config_text(text, Path("chains.yaml"), {})
    error = caught.value
    return "\n".join(
        [repr(error), str(error), str(error.hint), *(repr(problem) for problem in error.problems)]
    )


@pytest.mark.parametrize("secret", [SECRET, SHORT])
@pytest.mark.parametrize(
    "entry",
    [
        "api_key: {}",
        "apikey: {}",
        "api-key: {}",
        "API_KEY: {}",
        "token: {}",
        "password: {}",
        "secret: {}",
        "authorization: {}",
        "api_key:{}",
        'headers: {{Authorization: "Bearer {}"}}',
        "headers: {{X-Api-Key: {}}}",
        'headers: {{X-Api-Key: "${{NONE:-{}}}"}}',
        "api_key_env: [{}]",
        "api_key_cmd: {}",
        "api_key: [{}]",
        "api_key: {{a: {}}}",
        "api_key: &a {}\n, api_key: *a",
    ],
)
def test_it_is_refused_and_not_repeated(entry: str, secret: str) -> None:
    said = everything_said(TEXT.format(entry.format(secret)))
    assert secret not in said
    assert "endpoints.e" in said


@pytest.mark.parametrize(
    "entry",
    [
        "api_key_env: {}",
        "api_key_file: {}",
        "headers: {{X-Team: {}}}",
        'headers: {{X-Team: "team {}"}}',
        "redact: {}",
        "max_concurrency: {}",
        "kind_of: {}",
    ],
)
def test_what_looks_like_a_key_is_refused_wherever_it_stands(entry: str) -> None:
    assert SECRET not in everything_said(TEXT.format(entry.format(SECRET)))


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SHORT}@host",
        f"http://host/?key={SHORT}",
        f"http://{SECRET}",
        f"{SHORT}",
        f"http:// {SHORT}",
    ],
)
def test_an_address_is_not_repeated(url: str) -> None:
    assert SHORT not in everything_said(TEXT.format("x: y").replace('"http://127.0.0.1", x: y', f'"{url}"'))


def test_a_key_in_clear_is_told_what_to_do_instead() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config_text(TEXT.format(f"api_key: {SHORT}"), Path("chains.yaml"), {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (3, 51, "endpoints.e.api_key")
    assert "api_key_env" in problem.message


@pytest.mark.parametrize("text", [f"a: *{SECRET}", f"a: &{SECRET} 1\nb: &{SECRET} 2", f"a: !{SECRET}!x 1"])
def test_syntax_errors_do_not_quote_the_file(text: str) -> None:
    assert SECRET not in everything_said(text)


def test_values_from_the_environment_are_fine(load: Callable[..., Configuration]) -> None:
    headers = """headers: {{Authorization: "Bearer ${{TOKEN}}", X-Team: a}}, api_key_env: MY_KEY"""
    configuration = load(dedent(TEXT.format(headers.format())), TOKEN=SECRET)
    assert configuration.endpoints["e"].headers == {"Authorization": f"Bearer {SECRET}", "X-Team": "a"}
    assert not configuration.powers


BODIES = """\
version: 1
endpoints: {{e: {{kind: openai, base_url: "http://127.0.0.1"}}}}
models: {{m: {{endpoint: e, extra_body: {}}}}}
verifiers: {{default: {{judge: {{model: m, extra_body: {}}}}}}}
chains: {{a: [{{model: m, extra_body: {}}}], b: {{tiers: [m, {{model: m, extra_body: {}}}]}}}}
"""
PLACES = ["models.m", "verifiers.default.judge", "chains.a.0", "chains.b.tiers.1"]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "body",
    [
        f"{{api_key: {SHORT}}}",
        f"{{x: {{Authorization: {SHORT}}}}}",
        f"{{openai-api-key: {SHORT}}}",
        f"{{clientSecret: {SHORT}}}",
        f"{{password: [{SHORT}]}}",
        f"{{x: [{{token: {SHORT}}}]}}",
        f"{{note: {SECRET}}}",
        f"{{notes: [a, {{b: {SECRET}}}]}}",
        f"{{{SECRET}: 1}}",
        f"{{api_key:{SECRET}}}",
    ],
)
def test_a_body_with_a_secret_is_refused_wherever_it_stands(body: str, place: int) -> None:
    said = everything_said(BODIES.format(*(body if index == place else "{}" for index in range(4))))
    assert SHORT not in said
    assert f"{PLACES[place]}.extra_body." in said
    assert "api_key_env" in said


@pytest.mark.parametrize(
    "body",
    [
        "{chat_template_kwargs: {enable_thinking: false}, max_tokens: 5}",
        "{eos_token: </s>, prompt_cache_key: review, key: 5}",
        "{response_format: {json_schema: {properties: {password: {type: string}}, required: [token]}}}",
    ],
)
def test_a_body_that_only_looks_like_it_is_fine(body: str, load: Callable[..., Configuration]) -> None:
    assert load(BODIES.format(body, body, body, body)).models["m"].extra_body


def test_a_check_may_call_something_extra_body(load: Callable[..., Configuration]) -> None:
    check = "{kind: json_schema, schema: {properties: {extra_body: {default: {api_key: none}}}}}"
    text = BODIES.format("{}", "{}", "{}", "{}").replace("{judge:", f"{{checks: [{check}], judge:")
    assert load(text).verifiers["default"].checks
