"""Which scripted rule answers a request."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperguild.simulation.script import Rule, When

CHARS_PER_TOKEN = 4
"""How the fleet estimates the tokens of a prompt: a rule of thumb for English, rounded up."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a rule can look at: texts of the request, its headers (lower-case names) and whether it
    streams.
    """

    system: str
    user: str
    everything: str
    tool_result: bool
    headers: Mapping[str, str]
    stream: bool

    @property
    def tokens(self) -> int:
        """The estimated length of the whole prompt."""
        return -(-len(self.everything) // CHARS_PER_TOKEN)


def prompt_of(payload: Mapping[str, Any], headers: Mapping[str, str]) -> Prompt:
    """Read a chat request of either API: OpenAI's messages, or Anthropic's messages with `system` beside
    them.
    """
    messages = payload.get("messages")
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    texts = [(turn.get("role"), text_of(turn.get("content"))) for turn in turns]
    system = [
        text_of(payload.get("system")),
        *(text for role, text in texts if role in ("system", "developer")),
    ]
    users = [text for role, text in texts if role == "user" and text]
    last = turns[-1] if turns else {}
    return Prompt(
        system="\n".join(filter(None, system)),
        user=users[-1] if users else "",
        everything="\n".join(filter(None, [text_of(payload.get("system")), *(text for _, text in texts)])),
        tool_result=last.get("role") == "tool" or _holds_tool_result(last.get("content")),
        headers=headers,
        stream=payload.get("stream") is True,
    )


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list, tool results among them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict))
    return "\n".join(filter(None, (text_of(part.get("text") or part.get("content")) for part in parts)))


def _holds_tool_result(content: object) -> bool:
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "tool_result" for part in content
    )


def applies(when: When, prompt: Prompt, request: int) -> bool:
    """Whether every condition of `when` holds for the `request`-th request of its model."""
    return (
        all(text in prompt.user for text in when.contains)
        and not any(text in prompt.user for text in when.not_contains)
        and (when.regex is None or re.search(when.regex, prompt.user) is not None)
        and all(text in prompt.system for text in when.system_contains)
        and all(text in prompt.everything for text in when.anywhere_contains)
        and (not when.request or request in when.request)
        and all(prompt.headers.get(name.lower()) == value for name, value in when.header.items())
        and (when.tool_result is None or when.tool_result == prompt.tool_result)
        and (when.stream is None or when.stream == prompt.stream)
    )


class RuleBook:
    """The rules of one model, and how often it was asked and each rule was used."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._used: Counter[int] = Counter()
        self.asked = 0

    def choose(self, prompt: Prompt) -> Rule:
        """The first rule that applies and is not used up; without one, a repetition of what was asked."""
        self.asked += 1
        for index, rule in enumerate(self._rules):
            used_up = rule.times is not None and self._used[index] >= rule.times
            if not used_up and applies(rule.when, prompt, self.asked):
                self._used[index] += 1
                return rule
        return Rule(text=f"You said: {prompt.user[:200]}")
