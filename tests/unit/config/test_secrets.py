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
