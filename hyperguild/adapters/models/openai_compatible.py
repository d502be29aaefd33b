"""The client for chat completions: llama-swap, llama.cpp, Ollama, vLLM, OpenAI."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from hyperguild.adapters.models.dialect import read_answer
from hyperguild.adapters.models.openai_stream import ChatChunks
from hyperguild.adapters.models.provider_blocks import plain_text
from hyperguild.adapters.models.provider_tools import definitions
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, api_root, plain_transport
from hyperguild.domain.chain import Endpoint
from hyperguild.domain.messages import Message, ModelRequest, Sent, StreamPart
from hyperguild.domain.tools import ToolCall, ToolSpec

SCHEMA_NAME = "answer"
"""OpenAI wants a name for every schema; it means nothing."""


class OpenAICompatibleClient:
    """A `ModelClient` for endpoints of the kinds `llama-swap` and `openai`."""

    def __init__(
        self, endpoint: Endpoint, keys: KeyRing, transport_factory: TransportFactory = plain_transport
    ) -> None:
        self._exchanger = Exchanger(endpoint, keys, transport_factory)
        root = api_root(endpoint)
        version = "" if endpoint.kind == "openai" else "/v1"
        self._url = f"{root}{version}/chat/completions"
        # OpenAI itself has renamed the field; the others know the old name, and some of them only that
        at_openai = (urlsplit(root).hostname or "") == "api.openai.com"
        self._limit_field = "max_completion_tokens" if at_openai else "max_tokens"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """See `ModelClient.stream`."""
        body = request_body(request, limit_field=self._limit_field)
        async with self._exchanger.turn(request.model):
            yield Sent()
            async with (
                self._exchanger.send(
                    "POST", self._url, model=request.model, body=body, tools=len(request.tools)
                ) as answer,
                aclosing(read_answer(answer, ChatChunks(answer.peer))) as parts,
            ):
                async for part in parts:
                    yield part

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._exchanger.aclose()


def request_body(request: ModelRequest, *, limit_field: str = "max_tokens") -> dict[str, Any]:
    """Return the JSON of a chat completion request.

    Every one of hyperguild's parameters has OpenAI's name, or llama.cpp's where OpenAI has none (top_k,
    repeat_penalty); one that is None is left out. `extra_body` comes last and wins.
    """
    model = request.model
    body: dict[str, Any] = {
        "model": model.upstream,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if model.max_output_tokens is not None:
        body[limit_field] = model.max_output_tokens
    body.update({name: value for name, value in model.params.items() if value is not None})
    tools = [_tool(spec) for spec in request.tools] + definitions(request)
    if tools:
        body["tools"] = tools
    if request.tools:
        body["tool_choice"] = request.tool_choice
    if request.response_schema is not None and model.json_schema:
        schema = {"name": SCHEMA_NAME, "strict": True, "schema": request.response_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    body.update(model.extra_body)
    return body


def arguments(call: ToolCall) -> str:
    """Return a call's arguments as the text that goes back: that of an object, for servers parse it."""
    return json.dumps(call.arguments or {}, ensure_ascii=False)


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}


def _message(message: Message) -> dict[str, Any]:
    if message.result is not None:
        return {"role": "tool", "tool_call_id": message.result.call_id, "content": message.text}
    if message.tool_calls:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments(call)}}
            for call in message.tool_calls
        ]
        return {"role": message.role, "content": message.text or None, "tool_calls": calls}
    if not message.images:
        return {"role": message.role, "content": plain_text(message)}
    pictures = [
        {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data_base64}"}}
        for image in message.images
    ]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *pictures]}
