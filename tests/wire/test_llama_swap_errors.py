"""Each error that llama-swap and llama.cpp give, as recorded, and what it becomes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from wire_support import EVENT_STREAM, answering, ask, chunk, data, error_of, model_on, swap

from hyperguild.errors import (
    AuthError,
    BadRequestError,
    ConcurrencyLimitError,
    ContextOverflowError,
    ModelError,
    ModelTimeoutError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    ServerError,
)


def said(message: str, kind: str, code: str) -> dict[str, Any]:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return {"src": "llama-swap", "error": error}


ROWS = [
    pytest.param(
        httpx.Response(404, json=said("no router for requested model", "invalid_request_error", "not_found")),
        NotFoundError,
        "llama-swap at http://127.0.0.1:8080 knows no model 'phi-4-q4'",
        False,
        id="unknown-model",
    ),
    pytest.param(
        httpx.Response(
            404, json=said("no model id could be identified", "invalid_request_error", "not_found")
        ),
        BadRequestError,
        "no model id could be identified",
        False,
        id="no-model-id",
    ),
    pytest.param(
        httpx.Response(
            500,
            json=said(
                "unspecific error: upstream command exited prematurely", "server_error", "internal_error"
            ),
        ),
        ServerError,
        "could not start 'phi-4-q4'",
        False,
        id="start-fails",
    ),
    pytest.param(
        httpx.Response(
            500,
            json=said("unspecific error: health check timed out after 15s", "server_error", "internal_error"),
        ),
        ServerError,
        "'phi-4-q4' did not become healthy in time (500): unspecific error: health check timed out after 15s",
        False,
        id="never-healthy",
    ),
    pytest.param(
        httpx.Response(
            500, json=said("unspecific error: group: model unloaded", "server_error", "internal_error")
        ),
        ServerError,
        "'phi-4-q4' was unloaded while it was loading",
        True,
        id="unloaded-while-loading",
    ),
    pytest.param(
        httpx.Response(502), ServerError, "crashed or was unloaded during the request", True, id="empty-502"
    ),
    pytest.param(
        httpx.Response(
            429,
            headers={"Retry-After": "1"},
            json=said("Too many requests", "rate_limit_error", "concurrency_limit"),
        ),
        ConcurrencyLimitError,
        "as many requests for 'phi-4-q4' as its concurrencyLimit allows",
        True,
        id="concurrency-limit",
    ),
    pytest.param(
        httpx.Response(
            502,
            json=said(
                "peer proxy error: dial tcp 127.0.0.1:15999: connect: connection refused",
                "server_error",
                "bad_gateway",
            ),
        ),
        ServerError,
        "cannot reach the peer that hosts 'phi-4-q4'",
        True,
        id="dead-peer",
    ),
    pytest.param(
        httpx.Response(
            500, json={"error": {"code": 500, "message": "upstream boom", "type": "server_error"}}
        ),
        ServerError,
        "failed (500): upstream boom",
        True,
        id="passed-through",
    ),
    pytest.param(
        httpx.Response(
            401,
            json=said("unauthorized: invalid or missing API key", "authentication_error", "unauthorized"),
        ),
        AuthError,
        "wants an API key, and endpoint 'swap' has none (401)",
        False,
        id="no-key",
    ),
    pytest.param(
        httpx.Response(
            400,
            json={
                "error": {
                    "code": 400,
                    "message": "request (5017 tokens) exceeds the available context size (1024 tokens)",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5017,
                    "n_ctx": 1024,
                }
            },
        ),
        ContextOverflowError,
        "the prompt is too long for 'phi-4-q4': 5017 tokens, its window holds 1024",
        False,
        id="llama-cpp-overflow",
    ),
    pytest.param(
        httpx.Response(
            500,
            json={
                "error": {
                    "code": 500,
                    "message": "The model produced output that does not match the expected peg-native format",
                    "type": "server_error",
                }
            },
        ),
        ServerError,
        "could not parse what the model wrote",
        False,
        id="llama-cpp-parse-failure",
    ),
    pytest.param(
        httpx.Response(
            503, json={"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
        ),
        OverloadedError,
        "overloaded (503): Loading model",
        True,
        id="llama-cpp-loading",
    ),
    pytest.param(
        httpx.Response(404, text="404 page not found\n"),
        NotFoundError,
        "has no such path (404): 404 page not found",
        False,
        id="no-such-path",
    ),
    pytest.param(
        httpx.Response(408, text="slow"), ModelTimeoutError, "gave up waiting (408): slow", True, id="408"
    ),
    pytest.param(httpx.Response(413, text="too large"), ContextOverflowError, "too long", False, id="413"),
    pytest.param(
        httpx.Response(400, json={"error": "bad schema in response_format"}),
        BadRequestError,
        "refuses the request (400): bad schema in response_format",
        False,
        id="400",
    ),
    pytest.param(
        httpx.Response(
            502, html="<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        ),
        ServerError,
        "failed (502): an HTML page: 502 Bad Gateway",
        True,
        id="html-of-a-proxy",
    ),
    pytest.param(
        httpx.Response(308, headers={"location": "https://user:secret@elsewhere.example/v1?key=secret"}),
        ProtocolError,
        "answers 308, a redirect to https://elsewhere.example/v1",
        False,
        id="redirect",
    ),
]


@pytest.mark.parametrize(("response", "cls", "message", "retryable"), ROWS)
async def test_an_error_row(
    response: httpx.Response,
    cls: type[ModelError],
    message: str,
    retryable: bool,
) -> None:
    error = await error_of(ask(model_on(swap())), answering(response))

    assert type(error) is cls
    assert message in error.message
    assert error.retryable is retryable
    assert error.status == response.status_code


async def test_retry_after_is_read() -> None:
    response = httpx.Response(429, headers={"Retry-After": "7"}, json={"error": "Too many requests"})

    error = await error_of(ask(model_on(swap())), answering(response))

    assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    "body",
    [
        {"src": "llama-swap", "error": {"message": "no router for requested model"}},
        {"error": "no router for requested model"},
        "llama-swap: no router for requested model",
    ],
)
async def test_the_three_shapes_of_an_error_mean_the_same(body: dict[str, Any] | str) -> None:
    response = httpx.Response(404, text=body) if isinstance(body, str) else httpx.Response(404, json=body)

    error = await error_of(ask(model_on(swap())), answering(response))

    assert type(error) is NotFoundError
    assert error.message.endswith("knows no model 'phi-4-q4' (404): no router for requested model")
    assert error.hint is not None
    assert "hyperguild models" in error.hint


async def test_b3_a_crash_in_mid_stream_is_no_answer() -> None:
    body = data(chunk({"content": "hello "}), chunk({"content": "from "}))

    error = await error_of(
        ask(model_on(swap())), answering(httpx.Response(200, headers=EVENT_STREAM, content=body))
    )

    assert type(error) is ProtocolError
    assert error.retryable
    assert "without a finish reason" in error.message


async def test_a_failed_start_after_loading_chatter() -> None:
    chatter = data({"choices": [{"delta": {"reasoning_content": "llama-swap loading model"}}]})
    bare = (
        b'{"src":"llama-swap","error":{"message":"unspecific error: upstream command exited prematurely",'
        b'"type":"server_error","param":null,"code":"internal_error"}}'
    )

    error = await error_of(
        ask(model_on(swap())), answering(httpx.Response(200, headers=EVENT_STREAM, content=chatter + bare))
    )

    assert type(error) is ServerError
    assert not error.retryable
    assert (
        "could not start 'phi-4-q4': unspecific error: upstream command exited prematurely" in error.message
    )


async def test_terminal_codes_and_line_breaks_do_not_reach_the_message() -> None:
    response = httpx.Response(500, json={"error": {"message": "\x1b[31mboom\x1b[0m\r\n\tand\x00 more\u202e"}})

    error = await error_of(ask(model_on(swap())), answering(response))

    assert error.message.endswith("failed (500): boom and more")


async def test_an_endless_error_body_is_cut() -> None:
    error = await error_of(ask(model_on(swap())), answering(httpx.Response(500, text="x" * 1_000_000)))

    assert len(error.message) == 500
    assert error.message.endswith("…")
