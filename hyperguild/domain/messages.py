"""What is said to a model and what comes back, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperguild.domain.chain import Model
from hyperguild.domain.usage import Usage, estimate_tokens

Role = Literal["system", "user", "assistant"]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
"""How a generation ended. `other`: the server gave a reason that we do not know; the answer is complete."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its media type (`image/png`) and its bytes, base64-encoded."""

    media_type: str
    data_base64: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Images belong to user messages only and precede nothing: they follow the text."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One completion to ask for. `response_schema` binds the answer to a JSON Schema where the server can."""

    model: Model
    messages: tuple[Message, ...]
    response_schema: Mapping[str, Any] | None = None

    def estimated_input_tokens(self) -> int:
        """Estimate the prompt, four characters a token and 4 tokens of framing a message."""
        return sum(estimate_tokens(message.text) + 4 for message in self.messages)


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The server is alive but has said nothing yet: a ping, or llama-swap's chatter while it loads."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning; never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Tokens so far, as the server counts them. A later report replaces an earlier one."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finish:
    """The generation ended of itself. A stream without this part is broken."""

    reason: FinishReason


StreamPart = KeepAlive | TextDelta | ReasoningDelta | UsageReport | Finish


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished generation.

    `usage` includes what failed tries before it are known to have used. `load_ms` is the time until a cold
    model was ready (None where it was ready or that is not known), `first_token_ms` the time from readiness
    to the first piece of text or reasoning, `duration_ms` the whole.
    """

    text: str
    reasoning: str
    finish_reason: FinishReason
    usage: Usage
    duration_ms: int
    first_token_ms: int | None
    load_ms: int | None
