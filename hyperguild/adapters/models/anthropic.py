"""The client for Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from hyperguild.adapters.models.anthropic_stream import MessageEvents
from hyperguild.adapters.models.dialect import read_answer
from hyperguild.adapters.models.provider_blocks import plain_text, with_pairs
from hyperguild.adapters.models.provider_tools import definitions, runners
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, api_root, plain_transport
from hyperguild.domain.chain import Endpoint
from hyperguild.domain.messages import Message, ModelRequest, Sent, StreamPart
from hyperguild.domain.tools import ToolChoice, ToolSpec

_UNSUPPORTED_KEYWORDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "contains",
        "minProperties",
        "maxProperties",
    }
)
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions"})


TOOL_CHOICES: Mapping[ToolChoice, str] = {"auto": "auto", "required": "any", "none": "none"}
CACHE_MARK = {"cache_control": {"type": "ephemeral"}}
UNMARKABLE = frozenset({"thinking", "redacted_thinking"})
"""The API refuses a mark on these."""


class AnthropicClient:
    """A `ModelClient` for endpoints of the kind `anthropic`; one without a key source sends no key."""

    def __init__(
        self, endpoint: Endpoint, keys: KeyRing, transport_factory: TransportFactory = plain_transport
    ) -> None:
        self._exchanger = Exchanger(endpoint, keys, transport_factory)
        self._url = f"{api_root(endpoint)}/v1/messages"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """See `ModelClient.stream`."""
        body = request_body(request)
        events = partial(MessageEvents, runners=runners(request))
        async with self._exchanger.turn(request.model):
            yield Sent()
            async with (
                self._exchanger.send(
                    "POST", self._url, model=request.model, body=body, tools=len(request.tools)
                ) as answer,
                aclosing(read_answer(answer, events(answer.peer))) as parts,
            ):
                async for part in parts:
                    yield part

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._exchanger.aclose()


def request_body(request: ModelRequest) -> dict[str, Any]:
    """Return the JSON of a Messages request.

    Of the parameters temperature, top_p, top_k and stop are sent; the API has no other one (effort goes
    through `extra_body`, which comes last and wins).
    """
    model = request.model
    system = "\n\n".join(
        message.text for message in request.messages if message.role == "system" and message.text
    )
    body: dict[str, Any] = {
        "model": model.upstream,
        "max_tokens": model.most_output_tokens,  # the API demands a limit
        "messages": _turns(request),
        "stream": True,
    }
    if system:
        body["system"] = system
    if request.tools:
        body["tool_choice"] = {"type": TOOL_CHOICES[request.tool_choice]}
    run_by = set(runners(request).values())
    tools = [_tool(spec) for spec in request.tools if spec.name not in run_by] + definitions(request)
    if tools:
        body["tools"] = tools
        _mark_for_cache(body)
    for name in ("temperature", "top_p", "top_k"):
        if model.params.get(name) is not None:
            body[name] = model.params[name]
    stop = model.params.get("stop")
    if stop is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if request.response_schema is not None and model.json_schema:
        schema = accepted_schema(request.response_schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    body.update(model.extra_body)
    return body


def accepted_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as the API takes it.

    Its structured outputs refuse bounds on numbers, texts and lists, and want every object closed. The bounds
    are left to whoever checks the answer.
    """
    accepted: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _UNSUPPORTED_KEYWORDS:
            continue
        if name in _NAMED_SCHEMAS and isinstance(value, Mapping):
            accepted[name] = {key: _accepted(inner) for key, inner in value.items()}
        elif name in {"enum", "const", "default", "required"}:
            accepted[name] = value
        else:
            accepted[name] = _accepted(value)
    if schema.get("type") == "object":
        accepted["additionalProperties"] = False
    return accepted


def _accepted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return accepted_schema(value)
    if isinstance(value, list | tuple):
        return [_accepted(inner) for inner in value]
    return value


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "input_schema": spec.parameters}


def _mark_for_cache(body: dict[str, Any]) -> None:
    """Mark the system prompt and the last two messages: the next step of a loop repeats all before them.

    Without tools there is no next step, and writing to the cache costs more than not to.
    """
    if "system" in body:
        body["system"] = [{"type": "text", "text": body["system"], **CACHE_MARK}]
    for turn in body["messages"][-2:]:
        if turn["content"][-1]["type"] not in UNMARKABLE:
            turn["content"][-1] = {**turn["content"][-1], **CACHE_MARK}


def _turns(request: ModelRequest) -> list[dict[str, Any]]:
    """Merge neighbours of one role and begin with the user, as the API demands; drop what is empty."""
    turns: list[dict[str, Any]] = []
    model, theirs = request.model.name, {ours: name for name, ours in runners(request).items()}
    for message in with_pairs([one for one in request.messages if one.role != "system"], model):
        role = "user" if message.role == "tool" else message.role
        blocks = _blocks(message, model, theirs)
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append(
                {"role": "user", "content": [{"type": "text", "text": "(The conversation goes on.)"}]}
            )
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message, model: str, theirs: Mapping[str, str]) -> list[dict[str, Any]]:
    if message.verbatim is not None and message.verbatim.model == model:
        return [dict(block) for block in message.verbatim.content]
    if message.result is not None:
        result = {"type": "tool_result", "tool_use_id": message.result.call_id, "content": message.text}
        return [{**result, "is_error": True} if message.result.is_error else result]
    blocks: list[dict[str, Any]] = []
    text = plain_text(message)
    if text.strip():
        blocks.append({"type": "text", "text": text})
    for image in message.images:
        source = {"type": "base64", "media_type": image.media_type, "data": image.data_base64}
        blocks.append({"type": "image", "source": source})
    blocks += [
        {
            "type": "tool_use",
            "id": call.id,
            "name": theirs.get(call.name, call.name),
            "input": dict(call.arguments or {}),
        }
        for call in message.tool_calls
    ]
    return blocks
