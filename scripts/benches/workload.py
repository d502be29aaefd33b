"""What the walk bench asks for: a scripted fleet without delays, a configuration, and the bare loops."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.messages import Message
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import Task

AT_ONCE_MAX = 4096
"""Concurrency limits of client and fleet: far above what is measured."""

SYSTEM = "Review the code. Name each defect with its line. " * 10
TASK = "def pairs(xs):\n    return [(a, b) for a, b in zip(xs, xs[1:-1])]\n" * 10
"""Some 500 and 650 characters: a small task, which makes our own share look large rather than small."""

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", max_concurrency: {limit}, probe_timeout_ms: 5000}}
models:
  weak: {{endpoint: swap}}
  strong: {{endpoint: swap}}
  judge: {{endpoint: swap}}
verifiers:
  default: {{judge: judge}}
chains:
  default: [weak, strong]
"""

Ask = Callable[[dict[str, Any]], Awaitable[str]]
"""Posts a chat completion request and returns the text of its streamed answer."""


def script(tokens: int) -> dict[str, Any]:
    """Return the fleet's script: everything is loaded, answers come at once, `tokens` pieces each.

    The weak model is refused by the judge, the strong one accepted.
    """
    judged = [
        {
            "when": {"contains": "the strong answer"},
            "judge": {"accept": True, "score": 0.9, "feedback": "names the line"},
        },
        {"judge": {"accept": False, "score": 0.2, "feedback": "misses the last element"}},
    ]
    limit = {"concurrency_limit": AT_ONCE_MAX}
    return {
        "groups": {"all": {"swap": False, "members": ["weak", "strong", "judge"]}},
        "models": {
            "weak": {**limit, "answers": [{"text": _words("the weak answer", tokens)}]},
            "strong": {**limit, "answers": [{"text": _words("the strong answer", tokens)}]},
            "judge": {**limit, "answers": judged},
        },
    }


def _words(beginning: str, tokens: int) -> str:
    words = beginning.split()
    return " ".join(words + [f"word{number}" for number in range(max(0, tokens - len(words)))])


def configuration(url: str) -> Configuration:
    """Return the chain over the fleet at `url`."""
    return load_config_text(CHAINS.format(url=url, limit=AT_ONCE_MAX), Path("bench-chains.yaml"), {})


def run_request(configured: Configuration) -> RunRequest:
    """Return the run that is walked."""
    return RunRequest("review", SYSTEM, Task(TASK), configured.chain_for("review", None))


def messages() -> tuple[Message, ...]:
    """Return the prompt of one completion."""
    return (Message("system", SYSTEM), Message("user", TASK))


def ask_with_aiohttp(session: aiohttp.ClientSession, url: str) -> Ask:
    """Return the floor: what a careful person writes by hand, and nothing more."""

    async def ask(body: dict[str, Any]) -> str:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            return _said([line.decode() async for line in response.content])

    return ask


def ask_with_httpx(client: httpx.AsyncClient, url: str) -> Ask:
    """Return the same over httpx."""

    async def ask(body: dict[str, Any]) -> str:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            return _said([line async for line in response.aiter_lines()])

    return ask


def _said(lines: list[str]) -> str:
    """Return the text of a stream; no error is told, no limit kept."""
    text = []
    for line in lines:
        data = line.removeprefix("data: ").strip()
        if line.startswith("data: ") and data != "[DONE]":
            choices = json.loads(data)["choices"]
            text += [choice["delta"].get("content") or "" for choice in choices]
    return "".join(text)


async def ask_in_turn(ask: Ask, bodies: Sequence[dict[str, Any]]) -> None:
    """Make the calls of a run one after the other. Raises `AssertionError` for an empty answer."""
    for body in bodies:
        assert await ask(body)
