"""How many tokens a prompt has: estimated, until the server has said what one of ours had. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from hyperguild.domain.messages import FRAMING_TOKENS, Message
from hyperguild.domain.tools import ToolSpec
from hyperguild.domain.usage import estimate_tokens


def schema_text(tools: Iterable[ToolSpec]) -> str:
    """Return tools as the text that is sent for them, about."""
    return "".join(
        json.dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        for tool in tools
    )


class TokenGauge:
    """Estimates prompts of one attempt: by characters at first, then by the server's own count.

    `learn` takes what the server counted for a prompt; from then on that share of tokens per character holds.
    """

    def __init__(self) -> None:
        self._scale = 1.0

    def estimate(self, messages: Sequence[Message], tools: Iterable[ToolSpec] = ()) -> int:
        """Return the tokens of the prompt that these messages and tools make."""
        return round(_by_characters(messages, tools) * self._scale)

    def learn(self, messages: Sequence[Message], tools: Iterable[ToolSpec], counted: int) -> None:
        """Take the server's count; 0 means that it did not count."""
        if counted > 0:
            self._scale = counted / max(_by_characters(messages, tools), 1)


def _by_characters(messages: Sequence[Message], tools: Iterable[ToolSpec]) -> int:
    schemas = schema_text(tools)
    return sum(message.estimated_tokens() for message in messages) + (
        estimate_tokens(schemas) + FRAMING_TOKENS if schemas else 0
    )
