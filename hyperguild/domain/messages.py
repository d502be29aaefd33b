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


FRAMING_TOKENS = 4
"""What a chat template puts around one message, about."""


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

    def estimated_tokens(self) -> int:
        """Estimate its tokens, framing included."""
        return estimate_tokens(self.text) + FRAMING_TOKENS


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One completion to ask for. `response_schema` binds the answer to a JSON Schema where the server can."""

    model: Model
    messages: tuple[Message, ...]
    response_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The model is asked for now, and may be loaded for it; the request itself waits until it is ready.

    Only of hosts that load models before they take requests: there it comes before `Sent`.
    """


@dataclass(frozen=True, slots=True)
class Sent:
    """The request goes out now; until then it waited for its turn. Part of every stream, before any answer.

    A client yields it before it connects: what follows is the server's time.
    """


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


StreamPart = Asked | Sent | KeepAlive | TextDelta | ReasoningDelta | UsageReport | Finish


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished generation: its answer, without reasoning.

    `usage` includes what failed tries before it are known to have used; `duration_ms` is the whole call.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    duration_ms: int
