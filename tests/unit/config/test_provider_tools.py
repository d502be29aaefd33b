"""`provider_tools:` of models: what they come to, and what of them is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import ProviderTool

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}
  cloud: {kind: anthropic, base_url: "https://api.anthropic.com", api_key_env: KEY}
  other: {kind: openai, base_url: "https://api.openai.com/v1", api_key_env: KEY}
chains: {a: [{model: m, verify: false}]}
"""


def declared(tools: str, endpoint: str = "cloud", more: str = "") -> str:
    return f"{HEAD}models: {{m: {{endpoint: {endpoint}, provider_tools: {tools}{more}}}}}\n"


def test_c11_tools_of_the_provider_are_passed_on_as_they_are(load: Load) -> None:
    search = "{type: web_search_20250305, name: web_search, max_uses: 5, allowed_domains: [x.example]}"
    bash = "{type: bash_20250124, name: bash, runner: shell}"
    model = load(declared(f"[{search}, {bash}]")).models["m"]
    given = {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 5,
        "allowed_domains": ["x.example"],
    }
    assert model.provider_tools == (
        ProviderTool(given),
        ProviderTool({"type": "bash_20250124", "name": "bash"}, "shell"),
    )
    assert load(declared('[{type: "x:web_search"}]', "other")).models["m"].provider_tools == (
        ProviderTool({"type": "x:web_search"}),
    )


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (declared("[{name: web_search}]"), "provider_tools.0.type", "required"),
        (declared("[{type: bash_20250124, name: bash}]"), "provider_tools.0", "add `runner: shell`"),
        (declared("[{type: memory_20250818, name: memory}]"), "provider_tools.0", "no runner"),
        (
            declared("[{type: bash_20250124, name: bash, runner: bash}]"),
            "provider_tools.0.runner",
            "must be shell",
        ),
        (
            declared("[{type: web_search_20250305, name: web_search, runner: shell}]"),
            "provider_tools.0",
            "shell runs tools of the types bash_…",
        ),
        (declared("[{type: bash_20250124, runner: shell}]"), "provider_tools.0", "needs the `name`"),
        (declared("[{type: a, name: x}, {type: b, name: x}]"), "provider_tools", "two tools are named"),
        (
            declared("[{type: a, name: x}]", "swap"),
            "provider_tools",
            "endpoints of kind llama-swap take none",
        ),
        (declared("[{type: a, name: x}]", more=", tools: false"), "provider_tools", "needs `tools: true`"),
        (
            declared("[{type: bash_20250124, name: bash, runner: shell}]", "other"),
            "provider_tools.0.runner",
            "Anthropic's",
        ),
    ],
)
def test_c11_tools_that_nobody_can_run_are_refused(refuse: Refuse, text: str, path: str, why: str) -> None:
    (line,) = refuse(text)
    assert f" models.m.{path}: " in line
    assert why in line
