"""What goes to servers of OpenAI's API, and what their answers become."""

from __future__ import annotations

import datetime as dt
import json
from types import MappingProxyType
from typing import Any

import httpx
import pytest
import respx
from wire_support import (
    EVENT_STREAM,
    KEY,
    SWAP_URL,
    answering,
    ask,
    chunk,
    data,
    error_of,
    keys,
    model_on,
    mounted,
    openai,
    parts_of,
    swap,
)

from hyperguild.adapters.models.sse import LINE_MAX_BYTES
from hyperguild.domain.chain import KeySource
from hyperguild.domain.messages import (
    Finish,
    Image,
    KeepAlive,
    Message,
    ReasoningDelta,
    Sent,
    StreamPart,
    TextDelta,
    UsageReport,
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

END = chunk({}, "stop")
ENDED = data(chunk({"content": "ok"}), END, "[DONE]")


def streamed(body: bytes) -> httpx.Response:
    return httpx.Response(200, headers=EVENT_STREAM, content=body)


async def parts(body: bytes) -> list[StreamPart]:
    return await parts_of(ask(model_on(swap())), answering(streamed(body)))


async def sent(request: Any, url: str, ring: Any = None) -> tuple[httpx.Request, dict[str, Any]]:
    router = respx.MockRouter()
    route = router.post(url).respond(200, headers=EVENT_STREAM, content=ENDED)
    await parts_of(request, mounted(router), ring)
    call = route.calls.last.request
    return call, json.loads(call.content)


async def test_the_request_of_a_plain_model() -> None:
    request = ask(
        model_on(swap(), max_output_tokens=99),
        messages=(Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?")),
    )

    call, body = await sent(request, f"{SWAP_URL}/v1/chat/completions")

    assert body == {
        "model": "phi-4-q4",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 99,
    }
    assert call.headers["content-type"] == "application/json"
    assert "authorization" not in call.headers


async def test_the_request_with_everything() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    model = model_on(
        openai(headers={"X-Title": "demo"}),
        max_output_tokens=5,
        params={"temperature": 0.2, "stop": ["\n"], "reasoning_effort": "low", "top_k": None},
        extra_body={"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0.5},
    )
    request = ask(
        model,
        messages=(Message("user", "See", images=(Image("image/png", "QUJD"),)),),
        response_schema=schema,
    )

    call, body = await sent(request, "https://api.openai.com/v1/chat/completions")

    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
    assert body["temperature"] == 0.5
    assert body["stop"] == ["\n"]
    assert body["reasoning_effort"] == "low"
    assert "top_k" not in body
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,QUJD"},
    }
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["x-title"] == "demo"


async def test_a_schema_is_not_sent_to_a_model_that_cannot() -> None:
    request = ask(model_on(swap(), json_schema=False), response_schema={"type": "object"})

    _, body = await sent(request, f"{SWAP_URL}/v1/chat/completions")

    assert "response_format" not in body


async def test_a_base_url_with_v1_is_not_doubled() -> None:
    await sent(ask(model_on(swap(SWAP_URL + "/v1/"))), f"{SWAP_URL}/v1/chat/completions")


async def test_own_headers_win_over_the_key() -> None:
    endpoint = swap(key=KeySource(env="OPENAI_API_KEY"), headers={"authorization": "Basic abc"})

    call, _ = await sent(ask(model_on(endpoint)), f"{SWAP_URL}/v1/chat/completions")

    assert call.headers.get_list("authorization") == ["Basic abc"]


async def test_half_a_surrogate_pair_does_not_stop_a_request() -> None:
    _, body = await sent(ask(model_on(swap()), "caf\udce9"), f"{SWAP_URL}/v1/chat/completions")

    assert body["messages"][0]["content"] == "caf?"


async def test_extra_body_that_json_cannot_express_is_refused() -> None:
    model = model_on(swap(), extra_body={"seed": float("nan")})

    assert type(await error_of(ask(model), answering(streamed(ENDED)))) is BadRequestError


async def test_a_full_stream() -> None:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    body = data(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning": "so"}),
        chunk({"content": "Hel"}),
        chunk({"content": [{"type": "text", "text": "lo"}]}),
        END,
        {"object": "chat.completion.chunk", "choices": [], "usage": usage},
        "[DONE]",
    )

    assert await parts(body) == [
        Sent(),
        KeepAlive(),
        ReasoningDelta("hm"),
        ReasoningDelta("so"),
        TextDelta("Hel"),
        TextDelta("lo"),
        KeepAlive(),
        UsageReport(Usage(input_tokens=12, output_tokens=3, cached_input_tokens=8)),
        Finish("stop"),
    ]


async def test_b2_loading_chatter_is_no_part_of_the_answer() -> None:
    body = data(
        {"choices": [{"delta": {"reasoning_content": "━━━━━"}}]}, chunk({"content": "ok"}), END, "[DONE]"
    )

    assert await parts(body) == [Sent(), KeepAlive(), TextDelta("ok"), KeepAlive(), Finish("stop")]


async def test_comments_keep_alive() -> None:
    assert (await parts(b": OPENROUTER PROCESSING\n\n" + ENDED))[1] == KeepAlive()


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_line_ends_and_a_byte_order_mark(line_end: str) -> None:
    body = b"\xef\xbb\xbf" + ENDED.replace(b"\n", line_end.encode())

    assert TextDelta("ok") in await parts(body)


async def test_the_last_event_needs_no_empty_line() -> None:
    assert (await parts(ENDED.rstrip(b"\n")))[-1] == Finish("stop")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something_new", "other"),
    ],
)
async def test_b3_finish_reasons(said: str, meant: str) -> None:
    last = (await parts(data(chunk({"content": "x"}), chunk({}, said), "[DONE]")))[-1]

    assert isinstance(last, Finish)
    assert last.reason == meant


async def test_b3_a_refusal_is_told_from_an_answer() -> None:
    body = data(chunk({"refusal": "I cannot."}), END, "[DONE]")

    assert await parts(body) == [Sent(), TextDelta("I cannot."), KeepAlive(), Finish("refusal")]


async def test_a_server_that_does_not_stream() -> None:
    document = {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "reasoning_content": "r"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 3},
    }

    assert await parts_of(ask(model_on(swap())), answering(httpx.Response(200, json=document))) == [
        Sent(),
        ReasoningDelta("r"),
        TextDelta("hi"),
        UsageReport(Usage(input_tokens=1, output_tokens=3)),
        Finish("stop"),
    ]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        pytest.param(streamed(b""), "without a finish reason", id="empty"),
        pytest.param(
            streamed(data(chunk({"content": "x"}), "[DONE]")), "without a finish reason", id="no-finish"
        ),
        pytest.param(streamed(data(chunk({"content": "x"}), END)), "before its last event", id="no-done"),
        pytest.param(streamed(data('{"choices": [{"del')), "broken JSON", id="cut-off-json"),
        pytest.param(streamed(data("[1, 2]")), "no JSON object", id="no-object"),
        pytest.param(streamed(data("[" * 100_000)), "broken JSON", id="nested-json"),
        pytest.param(streamed(b'data: {"choices": "\xff"}\n\n'), "not UTF-8", id="no-utf8"),
        pytest.param(streamed(data({"choices": "x"})), "`choices` is no list", id="choices"),
        pytest.param(streamed(data({"choices": [{"delta": 3}]})), "`delta` is no object", id="delta"),
        pytest.param(streamed(data(chunk({"content": 3}))), "neither text nor", id="content"),
        pytest.param(streamed(b"data: " + b"x" * (LINE_MAX_BYTES + 1)), "longer than", id="long-line"),
        pytest.param(
            streamed((b"data: " + b"x" * (LINE_MAX_BYTES // 4) + b"\n") * 5), "longer than", id="long-event"
        ),
        pytest.param(httpx.Response(200, json={"choices": []}), "without choices", id="json-no-choices"),
        pytest.param(
            httpx.Response(200, json={"choices": [{"message": {"content": "x"}}]}),
            "no finish reason",
            id="json-open",
        ),
        pytest.param(
            httpx.Response(200, headers={"content-type": "application/json"}, content=b"{"),
            "broken JSON",
            id="json",
        ),
    ],
)
async def test_b3_a_broken_answer_is_a_retryable_error(response: httpx.Response, message: str) -> None:
    error = await error_of(ask(model_on(swap())), answering(response))

    assert type(error) is ProtocolError
    assert error.retryable
    assert message in error.message


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(200, html="<!doctype html><p>Sign in"), "answers with text/html instead of a stream"),
        (httpx.Response(200, content=b"hello"), "answers with no content type instead"),
        (httpx.Response(204), "answers with no content type instead"),
    ],
)
async def test_what_is_no_answer_at_all(response: httpx.Response, message: str) -> None:
    error = await error_of(ask(model_on(swap())), answering(response))

    assert type(error) is ProtocolError
    assert not error.retryable
    assert message in error.message


@pytest.mark.parametrize(
    ("event", "cls", "message"),
    [
        ({"error": {"message": "boom", "type": "server_error", "code": 500}}, ServerError, "boom"),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, OverloadedError, "busy"),
        ({"error": {"message": "slow down", "code": 429}}, RateLimitError, "slow down"),
        ({"error": {"message": "no", "code": "401"}}, AuthError, "no"),
        ({"object": "error", "message": "bad input", "code": 400}, BadRequestError, "bad input"),
        ({"error": "something"}, ServerError, "something"),
        (chunk({}, "error"), ServerError, "ended in an error"),
    ],
)
async def test_an_error_in_mid_stream(event: dict[str, Any], cls: type[ModelError], message: str) -> None:
    body = data(chunk({"content": "x"}), event, END, "[DONE]")

    error = await error_of(ask(model_on(swap())), answering(streamed(body)))

    assert type(error) is cls
    assert message in error.message


async def test_an_error_field_of_old_llama_cpp() -> None:
    body = b'error: {"code": 500, "message": "boom", "type": "server_error"}\n\n'

    assert type(await error_of(ask(model_on(swap())), answering(streamed(body)))) is ServerError


@pytest.mark.parametrize(
    ("response", "cls", "retryable", "message"),
    [
        (
            httpx.Response(
                401,
                json={"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}},
            ),
            AuthError,
            False,
            "refuses the API key (401): Incorrect API key provided: [key]",
        ),
        (
            httpx.Response(
                400, json=[{"error": {"message": "API key not valid", "code": "invalid_api_key"}}]
            ),
            AuthError,
            False,
            "API key not valid",
        ),
        (
            httpx.Response(403, json={"error": {"message": "country not supported"}}),
            AuthError,
            False,
            "does not allow this (403): country not supported",
        ),
        (
            httpx.Response(
                400,
                json={
                    "error": {
                        "message": "This model's maximum context length is 8192",
                        "code": "context_length_exceeded",
                    }
                },
            ),
            ContextOverflowError,
            False,
            "too long",
        ),
        (
            httpx.Response(404, json={"error": {"message": "no access", "code": "model_not_found"}}),
            NotFoundError,
            False,
            "knows no model 'gpt'",
        ),
        (
            httpx.Response(404, json={"error": {"message": "model 'gpt' not found"}}),
            NotFoundError,
            False,
            "knows no model 'gpt'",
        ),
        (
            httpx.Response(429, json={"error": {"message": "quota", "code": "insufficient_quota"}}),
            RateLimitError,
            False,
            "out of credit or quota (429): quota",
        ),
        (
            httpx.Response(429, json={"error": {"message": "slow down", "code": "rate_limit_exceeded"}}),
            RateLimitError,
            True,
            "too many requests (429): slow down",
        ),
        (httpx.Response(422, json={"detail": [{"loc": ["body"]}]}), BadRequestError, False, '"loc"'),
    ],
)
async def test_errors_of_openai_and_its_likes(
    response: httpx.Response,
    cls: type[ModelError],
    retryable: bool,
    message: str,
) -> None:
    error = await error_of(ask(model_on(openai(), "gpt")), answering(response))

    assert type(error) is cls
    assert error.retryable is retryable
    assert message in error.message


async def test_a_refused_parameter_is_hinted_at() -> None:
    said = {"error": {"message": "Unsupported value: 'temperature' does not support 0.0 with this model."}}

    error = await error_of(ask(model_on(openai())), answering(httpx.Response(400, json=said)))

    assert error.hint is not None
    assert "sampling parameter" in error.hint


async def test_an_unset_key_makes_no_call() -> None:
    router = respx.MockRouter(assert_all_called=False)
    endpoint = openai(key=KeySource(env="MISSING_KEY"))

    error = await error_of(ask(model_on(endpoint)), mounted(router), keys())

    assert type(error) is AuthError
    assert "$MISSING_KEY is not set" in error.message
    assert router.calls.call_count == 0


async def test_extra_body_may_be_any_mapping() -> None:
    model = model_on(swap(), extra_body=MappingProxyType({"options": MappingProxyType({"a": 1})}))

    _, body = await sent(ask(model), f"{SWAP_URL}/v1/chat/completions")

    assert body["options"] == {"a": 1}


async def test_a_date_in_extra_body_is_refused() -> None:
    model = model_on(swap(), extra_body={"since": dt.date(2026, 1, 1)})

    error = await error_of(ask(model), answering(streamed(ENDED)))

    assert type(error) is BadRequestError
    assert "date is no JSON type" in error.message


async def test_a_second_choice_is_not_mixed_in() -> None:
    both = chunk({"content": "a"})
    both["choices"].append({"index": 1, "delta": {"content": "b"}})

    assert TextDelta("a") in await parts(data(both, END, "[DONE]"))


async def test_a_payment_that_is_due_is_not_retried() -> None:
    error = await error_of(ask(model_on(openai())), answering(httpx.Response(402, text="pay")))

    assert type(error) is RateLimitError
    assert not error.retryable


async def test_an_old_llama_swap_says_otherwise_that_it_knows_no_model() -> None:
    response = httpx.Response(400, text="could not find real modelID for phi-4-q4")

    assert type(await error_of(ask(model_on(swap())), answering(response))) is NotFoundError
