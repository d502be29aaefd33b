"""What is said to a model and what comes back, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperguild.domain.chain import Model
from hyperguild.domain.tools import ToolCall, ToolChoice, ToolResult, ToolSpec
from hyperguild.domain.usage import Usage, estimate_tokens

Role = Literal["system", "user", "assistant", "tool"]

FinishReason = Literal["stop", "length", "tool_calls", "paused", "content_filter", "refusal", "other"]
"""How a generation ended. `paused`: the provider, at work with tools of its own, goes on when it gets the
turn back as it is. `other`: the server gave a reason that we do not know; the answer is complete."""


FRAMING_TOKENS = 4
"""What a chat template puts around one message, about."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its media type (`image/png`) and its bytes, base64-encoded."""

    media_type: str
    data_base64: str


@dataclass(frozen=True, slots=True)
class Verbatim:
    """An assistant message's content as its provider sent it, with what only that model can read.

    Signed or encrypted reasoning, calls that the provider executed itself and their results. It goes back
    unchanged to the model of that name in chains.yaml, and to no other.
    """

    model: str
    content: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A page that an answer rests on, as its provider names it."""

    url: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Images belong to user messages only and precede nothing: they follow the text.

    `tool_calls`, `verbatim`, `reasoning` and `sources` belong to assistant messages; the last two are kept
    for people and never sent. A message of the role `tool` has a `result`, whose text is the message's.
    """

    role: Role
    text: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    result: ToolResult | None = None
    verbatim: Verbatim | None = None
    reasoning: str = ""
    sources: tuple[Source, ...] = ()

    @classmethod
    def of_result(cls, result: ToolResult) -> Message:
        """Return the message that tells a model what became of its call."""
        return cls("tool", result.text, result=result)

    def estimated_tokens(self) -> int:
        """Estimate its tokens, framing included."""
        calls = sum(estimate_tokens(call.name + call.raw) + FRAMING_TOKENS for call in self.tool_calls)
        return estimate_tokens(self.text) + calls + FRAMING_TOKENS


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One completion to ask for. `response_schema` binds the answer to a JSON Schema where the server can.

    `tools` are those that the model may call; `tool_choice` has no meaning without any. `provider_tools`:
    those that the model has in chains.yaml are offered too.
    """

    model: Model
    messages: tuple[Message, ...]
    response_schema: Mapping[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    provider_tools: bool = False


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
class ToolCallDelta:
    """A piece of a tool call. Pieces of one `index` belong together; `id` and `name` may come once, or never.

    `arguments` is the next piece of their JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Tokens so far, as the server counts them. A later report replaces an earlier one."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class VerbatimContent:
    """The whole content of the answer as the provider sent it, where texts and calls do not say it all."""

    content: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class SourcesNamed:
    """Pages that the answer rests on. They may come piece by piece, and more than once."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The generation ended of itself. A stream without this part is broken."""

    reason: FinishReason


StreamPart = (
    Asked
    | Sent
    | KeepAlive
    | TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | UsageReport
    | VerbatimContent
    | SourcesNamed
    | Finish
)


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished generation: its answer, without reasoning, and the tools that it calls.

    Ids of calls are as the server gave them: one may be missing or stand twice. `content` is what a
    `Verbatim` needs, empty where text and calls say it all. `sources` has each page once. `usage` includes
    what failed tries before it are known to have used; `duration_ms` is the whole call.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    duration_ms: int
    tool_calls: tuple[ToolCall, ...] = ()
    content: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[Source, ...] = ()
