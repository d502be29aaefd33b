"""What goes to the Messages API, and what its answers become."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import respx
from wire_support import (
    EVENT_STREAM,
    KEY,
    answering,
    anthropic,
    ask,
    error_of,
    events,
    model_on,
    mounted,
    parts_of,
)

from hyperguild.adapters.models.anthropic import accepted_schema
from hyperguild.domain.messages import (
    Finish,
    Image,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    Sent,
    TextDelta,
    UsageReport,
    VerbatimContent,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import (
    AuthError,
    BadRequestError,
    ContextOverflowError,
    ModelError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)

START = (
    "message_start",
    {
        "message": {
            "id": "msg_1",
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 5,
                "output_tokens": 1,
            },
        }
    },
)


def block(delta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return ("content_block_delta", {"index": 0, "delta": delta})


def ending(reason: str) -> tuple[str, dict[str, Any]]:
    return ("message_delta", {"delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}})


STOP: tuple[str, dict[str, Any]] = ("message_stop", {})
HELLO = block({"type": "text_delta", "text": "Hello"})


def streamed(*named: tuple[str, dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, headers=EVENT_STREAM, content=events(*named))


def claude(**fields: Any) -> Any:
    return model_on(anthropic(), "claude-sonnet-4-6", **fields)


async def sent(request: ModelRequest) -> tuple[httpx.Request, dict[str, Any]]:
    router = respx.MockRouter()
    route = router.post("https://api.anthropic.com/v1/messages").respond(
        200, headers=EVENT_STREAM, content=events(START, HELLO, ending("end_turn"), STOP)
    )
    await parts_of(request, mounted(router))
    return route.calls.last.request, json.loads(route.calls.last.request.content)


async def test_the_request() -> None:
    model = claude(
        params={
            "temperature": 0.2,
            "stop": "END",
            "seed": 3,
            "presence_penalty": 1,
            "reasoning_effort": "low",
        },
        extra_body={"metadata": {"user_id": "u"}},
    )
    messages = (
        Message("system", "Be brief."),
        Message("user", "One"),
        Message("user", "Two", images=(Image("image/png", "QUJD"),)),
        Message("assistant", "Three"),
        Message("system", "And kind."),
        Message("user", "Four"),
    )

    call, body = await sent(ask(model, messages=messages))

    assert body == {
        "model": "claude-sonnet-4-6",
        "max_tokens": 4096,
        "stream": True,
        "system": "Be brief.\n\nAnd kind.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "One"},
                    {"type": "text", "text": "Two"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                    },
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Three"}]},
            {"role": "user", "content": [{"type": "text", "text": "Four"}]},
        ],
        "temperature": 0.2,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
    }
    assert call.headers["x-api-key"] == KEY
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in call.headers


async def test_a_conversation_begins_with_the_user() -> None:
    _, body = await sent(ask(claude(), messages=(Message("assistant", "Hi"), Message("user", "x"))))

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


async def test_a_schema_is_sent_as_the_api_takes_it() -> None:
    schema = {
        "type": "object",
        "properties": {
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "maximum": {"type": "string", "maxLength": 600},
            "list": {"type": "array", "items": {"type": "object", "properties": {}}, "maxItems": 3},
        },
        "required": ["score"],
    }

    _, body = await sent(ask(claude(max_output_tokens=9), response_schema=schema))

    assert body["max_tokens"] == 9
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {
            "score": {"type": "number"},
            "maximum": {"type": "string"},
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
            },
        },
        "required": ["score"],
        "additionalProperties": False,
    }


def test_values_of_a_schema_are_left_alone() -> None:
    schema = {"enum": [{"minimum": 1}], "anyOf": [{"type": "integer", "minimum": 1}, True]}

    assert accepted_schema(schema) == {"enum": [{"minimum": 1}], "anyOf": [{"type": "integer"}, True]}


async def test_a_full_stream() -> None:
    response = streamed(
        START,
        ("ping", {}),
        ("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        block({"type": "thinking_delta", "thinking": "hm"}),
        block({"type": "signature_delta", "signature": "abc"}),
        ("content_block_stop", {"index": 0}),
        ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Hello"}}),
        ("an_event_of_tomorrow", {"x": 1}),
        ending("end_turn"),
        STOP,
    )

    parts = await parts_of(ask(claude()), answering(response))

    first = Usage(input_tokens=35, output_tokens=1, cached_input_tokens=20, cache_write_tokens=5)
    last = Usage(input_tokens=35, output_tokens=7, cached_input_tokens=20, cache_write_tokens=5)
    assert [part for part in parts if part != KeepAlive()] == [
        Sent(),
        UsageReport(first),
        ReasoningDelta("hm"),
        TextDelta("Hello"),
        UsageReport(last),
        VerbatimContent(
            (
                {"type": "thinking", "thinking": "hm", "signature": "abc"},
                {"type": "text", "text": "Hello"},
            )
        ),
        Finish("stop"),
    ]
    assert parts[2] == KeepAlive()


async def test_a_server_that_does_not_stream() -> None:
    document = {
        "type": "message",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 2, "output_tokens": 3},
    }

    assert await parts_of(ask(claude()), answering(httpx.Response(200, json=document))) == [
        Sent(),
        ReasoningDelta("hm"),
        TextDelta("Hi"),
        UsageReport(Usage(input_tokens=2, output_tokens=3)),
        Finish("length"),
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "paused"),
    ],
)
async def test_b3_stop_reasons(said: str, meant: str) -> None:
    last = (await parts_of(ask(claude()), answering(streamed(START, HELLO, ending(said), STOP))))[-1]

    assert isinstance(last, Finish)
    assert last.reason == meant


@pytest.mark.parametrize(
    ("status", "headers", "kind", "message", "cls", "retryable"),
    [
        (400, {}, "invalid_request_error", "max_tokens: too large", BadRequestError, False),
        (
            400,
            {},
            "invalid_request_error",
            "prompt is too long: 205101 tokens > 200000 maximum",
            ContextOverflowError,
            False,
        ),
        (400, {}, "invalid_request_error", "Your credit balance is too low", RateLimitError, False),
        (401, {}, "authentication_error", "invalid x-api-key", AuthError, False),
        (403, {}, "permission_error", "no access to this model", AuthError, False),
        (404, {}, "not_found_error", "model: claude-nine", NotFoundError, False),
        (413, {}, "request_too_large", "Request exceeds the maximum size", ContextOverflowError, False),
        (429, {"retry-after": "12"}, "rate_limit_error", "tokens per minute", RateLimitError, True),
        (500, {}, "api_error", "Internal server error", ServerError, True),
        (529, {}, "overloaded_error", "Overloaded", OverloadedError, True),
    ],
)
async def test_an_error_row(
    status: int,
    headers: dict[str, str],
    kind: str,
    message: str,
    cls: type[ModelError],
    retryable: bool,
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    error = await error_of(ask(claude()), answering(httpx.Response(status, headers=headers, json=body)))

    assert type(error) is cls
    assert error.status == status
    assert error.retryable is retryable
    assert message in error.message
    assert error.retry_after_s == (12.0 if headers else None)


@pytest.mark.parametrize(
    ("kind", "cls", "retryable"),
    [
        ("overloaded_error", OverloadedError, True),
        ("api_error", ServerError, True),
        ("rate_limit_error", RateLimitError, True),
        ("authentication_error", AuthError, False),
        ("invalid_request_error", BadRequestError, False),
    ],
)
async def test_an_error_in_mid_stream(kind: str, cls: type[ModelError], retryable: bool) -> None:
    failure = ("error", {"error": {"type": kind, "message": "so it is"}})

    error = await error_of(ask(claude()), answering(streamed(START, HELLO, failure)))

    assert type(error) is cls
    assert error.retryable is retryable
    assert error.message.endswith("so it is")
    assert error.status is None


@pytest.mark.parametrize(
    "response",
    [
        streamed(START, HELLO),
        streamed(START, HELLO, STOP),
        streamed(START, HELLO, ending("end_turn")),
        streamed(("message_start", {"message": 3})),
        httpx.Response(200, json={"type": "message", "content": "x", "stop_reason": "end_turn"}),
    ],
)
async def test_b3_a_broken_answer_is_a_retryable_error(response: httpx.Response) -> None:
    error = await error_of(ask(claude()), answering(response))

    assert type(error) is ProtocolError
    assert error.retryable


async def test_no_key_is_sent_where_none_is_named() -> None:
    router = respx.MockRouter()
    route = router.post("http://127.0.0.1:9/anthropic/v1/messages").respond(
        200, headers=EVENT_STREAM, content=events(START, HELLO, ending("end_turn"), STOP)
    )
    endpoint = anthropic("http://127.0.0.1:9/anthropic", key=None)

    await parts_of(ask(model_on(endpoint)), mounted(router))

    assert "x-api-key" not in route.calls.last.request.headers
