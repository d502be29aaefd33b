"""What `hyperguild init` writes: the text of chains.yaml, and of a group for llama-swap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

Provider = Literal["anthropic", "openai"]

SWAP = "swap"
"""What the llama-swap endpoint is called in the file."""

GROUP = "hyperguild"
"""What the group of judge and workers is called in llama-swap's configuration."""

MAX_NAME_CHARS = 200
"""Longer names are refused in chains.yaml."""

_ADDRESSES: Mapping[Provider, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}

KEY_VARIABLES: Mapping[Provider, str] = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""The variables that the providers' own tools read their keys from."""

CLOUD_MODELS: Mapping[Provider, str] = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-5-mini"}
"""The model of each provider where none is asked for."""

_WINDOWS: Mapping[str, int] = {"claude-sonnet-4-6": 200_000, "gpt-5-mini": 400_000}
"""In tokens, as the providers publish them."""

_PRICES: Mapping[str, str] = {
    "claude-sonnet-4-6": "{input: 3.0, output: 15.0, cached_input: 0.3, cache_write: 3.75}",
    "gpt-5-mini": "{input: 0.25, output: 2.0, cached_input: 0.025}",
}
"""List prices in USD per million tokens, as the providers publish them."""


@dataclass(frozen=True, slots=True)
class Server:
    """A llama-swap server: its address, and the variable that holds its key."""

    base_url: str
    api_key_env: str | None = None


@dataclass(frozen=True, slots=True)
class Cloud:
    """The tier after the local ones."""

    provider: Provider
    model: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked or taken for granted. `order` and `judge` are names of the server's models.

    `judge` may also be the cloud model; it is None where there is no local model to judge. At least one of
    `order` and `cloud` holds something, and `server` is there where one of its models is named.
    """

    server: Server | None
    order: tuple[str, ...]
    judge: str | None
    cloud: Cloud | None


def chains_yaml(answers: Answers) -> str:
    """Return the file. It is accepted by `load_config`, whatever the names are that `is_usable` accepts."""
    sections = [_HEAD, _endpoints(answers), _models(answers), _verifiers(answers), _chains(answers)]
    return "\n".join(section for section in sections if section)


def cloud_name(answers: Answers) -> str:
    """Return what the cloud model is called in the file; "" where there is none.

    That is its own name, or `PROVIDER/NAME` where a model of the server has that one.
    """
    if answers.cloud is None:
        return ""
    name = answers.cloud.model
    return f"{answers.cloud.provider}/{name}" if name in answers.order else name


def is_usable(name: str) -> bool:
    """Tell whether chains.yaml takes the name of a model as it is."""
    return 0 < len(name) <= MAX_NAME_CHARS and name == name.strip() and name.isprintable()


def scalar(text: str) -> str:
    """Return the text as YAML of one line, quoted where YAML would take it for something else.

    It can stand as a key and as a value, also between the braces of a mapping.
    """
    # Between double quotes a line break is written as an escape, and does not end the line.
    style = None if text.isprintable() else '"'
    dumped: str = yaml.safe_dump(
        [text], default_flow_style=True, default_style=style, allow_unicode=style is None, width=2**31
    )
    return dumped.strip()[1:-1]


def group_snippet(members: Iterable[str]) -> str:
    """Return what llama-swap's configuration needs so that the models stay loaded beside each other."""
    listed = ", ".join(scalar(member) for member in dict.fromkeys(members))
    return (
        "groups:\n"
        f"  {GROUP}:\n"
        "    swap: false          # its members are loaded beside each other: all of them must fit\n"
        f"    members: [{listed}]"
    )


_HEAD = """\
# Written by `hyperguild init`.
# `hyperguild chains check` says what is wrong with it; `hyperguild doctor` asks the servers, too.
version: 1
"""


def _endpoints(answers: Answers) -> str:
    lines = ["# Servers that host models. Keys stand in the environment, never here.", "endpoints:"]
    if answers.server is not None:
        # Strings of endpoints may hold ${VAR}; this one is meant as it is.
        address = answers.server.base_url.replace("${", "$${")
        lines += _endpoint(SWAP, "llama-swap", address, answers.server.api_key_env)
    if answers.cloud is not None:
        provider = answers.cloud.provider
        lines += _endpoint(provider, provider, _ADDRESSES[provider], KEY_VARIABLES[provider])
    return _block(lines)


def _endpoint(name: str, kind: str, base_url: str, api_key_env: str | None) -> list[str]:
    lines = [f"  {name}:", f"    kind: {kind}", f"    base_url: {scalar(base_url)}"]
    return [*lines, f"    api_key_env: {scalar(api_key_env)}"] if api_key_env else lines


def _models(answers: Answers) -> str:
    lines = [
        "# Each can say more; prompts longer than its context_window (in tokens) go to the next tier:",
        "#   NAME: {endpoint: ENDPOINT, context_window: 16384}",
        "models:",
    ]
    local = dict.fromkeys(answers.order)
    if answers.judge is not None and answers.judge != cloud_name(answers):
        local[answers.judge] = None
    lines += [f"  {scalar(name)}: {{endpoint: {SWAP}}}" for name in local]
    if answers.cloud is not None:
        lines += _cloud_model(answers.cloud, cloud_name(answers))
    return _block(lines)


def _cloud_model(cloud: Cloud, name: str) -> list[str]:
    lines = [f"  {scalar(name)}:", f"    endpoint: {cloud.provider}"]
    if name != cloud.model:
        lines.append(f"    upstream: {scalar(cloud.model)}")
    if cloud.model in _WINDOWS:
        lines.append(f"    context_window: {_WINDOWS[cloud.model]}")
    if cloud.model in _PRICES:
        lines.append("    # USD per million tokens")
        lines.append(f"    price: {_PRICES[cloud.model]}")
    return lines


def _verifiers(answers: Answers) -> str:
    if answers.judge is None:
        return ""
    return _block(
        [
            "# The judge sees each answer of a local model; when it refuses one, the next tier is told why.",
            "verifiers:",
            f"  default: {{judge: {scalar(answers.judge)}}}",
            "  # With checks, which cost nothing and run first:",
            f"  # default: {{checks: [{{kind: complete}}], judge: {scalar(answers.judge)}}}",
        ]
    )


def _chains(answers: Answers) -> str:
    tiers = [_tier(name) for name in answers.order]
    if answers.cloud is not None:
        tiers.append(scalar(cloud_name(answers)))
    return "\n".join(
        [
            "# Tried in this order, cheapest first, until an answer is accepted.",
            "chains:",
            f"  default: [{', '.join(tiers)}]",
            "",
            "# A skill may use a chain of its own; without an entry it uses chains.default.",
            "# skills: {review: {chain: default}}",
            "",
        ]
    )


def _tier(name: str) -> str:
    # By its name it would count as a cloud model, whose answers are not judged.
    return f"{{model: {scalar(name)}, tier: local}}" if name.startswith("claude-") else scalar(name)


def _block(lines: list[str]) -> str:
    return "\n".join([*lines, ""])
