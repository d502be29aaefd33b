"""What is said to a model and what comes back, whatever the protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from hyperguild.domain.chain import Model
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.domain.usage import Usage, estimate_tokens

Role = Literal["system", "user", "assistant", "tool"]

ToolChoice = Literal["auto", "required", "none"]
"""Whether the model may, must or must not call one of the tools that it is offered."""

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
class Verbatim:
    """An assistant message's content as its provider sent it, with what only that model can read.

    Signed or encrypted reasoning, calls that the provider executed itself and their results. It goes back
    unchanged to the model of that name in chains.yaml, and to no other.
    """

    model: str
    content: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Images belong to user messages only and precede nothing: they follow the text.

    `tool_calls`, `verbatim` and `reasoning` belong to assistant messages; `reasoning` is kept for people and
    never sent. A message of the role `tool` has a `result`, whose text is the message's.
    """

    role: Role
    text: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    result: ToolResult | None = None
    verbatim: Verbatim | None = None
    reasoning: str = ""

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

    `tools` are those that the model may call; `tool_choice` has no meaning without any.
    """

    model: Model
    messages: tuple[Message, ...]
    response_schema: Mapping[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"


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
    | Finish
)


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished generation: its answer, without reasoning, and the tools that it calls.

    Ids of calls are as the server gave them: one may be missing or stand twice. `content` is what a
    `Verbatim` needs, empty where text and calls say it all. `usage` includes what failed tries before it are
    known to have used; `duration_ms` is the whole call.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    duration_ms: int
    tool_calls: tuple[ToolCall, ...] = ()
    content: tuple[Mapping[str, Any], ...] = ()


def as_record(message: Message) -> dict[str, Any]:
    """Return a message as it is stored and shown: `role` and `content`, and what else it has.

    `tool_calls` are `{id, name, arguments}` (`raw` and `fault` where the arguments are no object); a tool's
    message has `tool_call_id`, `name`, `is_error`, and where they are known `started_at`, `ended_at` and
    `ran_with`. Images are not kept.
    """
    record: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        record["tool_calls"] = [call_record(call) for call in message.tool_calls]
    if message.result is not None:
        result = message.result
        record |= {"tool_call_id": result.call_id, "name": result.name, "is_error": result.is_error}
        for name, moment in (("started_at", result.started_at), ("ended_at", result.ended_at)):
            if moment is not None:
                record[name] = moment.isoformat(timespec="milliseconds")
        if result.ran_with is not None:
            record["ran_with"] = dict(result.ran_with)
    if message.reasoning:
        record["reasoning"] = message.reasoning
    if message.verbatim is not None:
        record["verbatim"] = {"model": message.verbatim.model, "content": list(message.verbatim.content)}
    return record


def call_record(call: ToolCall) -> dict[str, Any]:
    """Return a call as it is stored and shown: `{id, name, arguments}`; `raw` and `fault` if that is null."""
    record: dict[str, Any] = {"id": call.id, "name": call.name, "arguments": call.arguments}
    return record if call.arguments is not None else {**record, "raw": call.raw, "fault": call.fault}


def from_record(record: Mapping[str, Any]) -> Message:
    """Return the message that `as_record` made this record of, less its images.

    The text of a call's arguments is written anew where they are an object. Raises `ValueError`, with one
    line, for what `as_record` could not have made.
    """
    role: Any = record.get("role")
    if role not in get_args(Role):
        raise ValueError("a message has no role that is known")
    verbatim = record.get("verbatim")
    return Message(
        role,
        _field(record, "content", str),
        tool_calls=tuple(_call_of(call) for call in _field(record, "tool_calls", list, [])),
        result=_result_of(record) if role == "tool" else None,
        verbatim=None
        if verbatim is None
        else Verbatim(_field(verbatim, "model", str), tuple(_field(verbatim, "content", list))),
        reasoning=_field(record, "reasoning", str, ""),
    )


def _call_of(record: Any) -> ToolCall:
    call_id, name = _field(record, "id", str), _field(record, "name", str)
    arguments = record.get("arguments")
    if arguments is None:
        return ToolCall(call_id, name, None, _field(record, "raw", str), _field(record, "fault", str))
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {call_id} are no object")  # noqa: TRY004  # of the log
    return ToolCall(call_id, name, arguments, json.dumps(arguments, ensure_ascii=False))


def _result_of(record: Mapping[str, Any]) -> ToolResult:
    began, ended = (
        datetime.fromisoformat(_field(record, name, str)) if name in record else None
        for name in ("started_at", "ended_at")
    )
    return ToolResult(
        _field(record, "tool_call_id", str),
        _field(record, "name", str),
        _field(record, "content", str),
        _field(record, "is_error", bool),
        began,
        ended,
        _field(record, "ran_with", dict) if "ran_with" in record else None,
    )


def _field(record: Any, name: str, kind: type, default: Any = None) -> Any:
    value = record.get(name, default) if isinstance(record, Mapping) else None
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` is missing, or no {kind.__name__}")  # noqa: TRY004  # of the log
    return value
