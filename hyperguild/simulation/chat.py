"""The shape of chat completions, as OpenAI defined it and llama.cpp and others serve it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from hyperguild.simulation.reply import Reply, argument_parts, arguments_text
from hyperguild.simulation.script import ErrorReply, ToolCall
from hyperguild.simulation.streaming import Frame

Flavour = Literal["llama_cpp", "openai", "bare"]

DONE: Frame = ("done", b"data: [DONE]\n\n")

OPENAI_ERROR_TYPES: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
LLAMA_CPP_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    503: "unavailable_error",
}


class ChatDialect:
    """Chat completions of one request.

    `openai` adds what OpenAI's own answers carry, `llama_cpp` what llama.cpp's do, `bare` only what every
    server sends.
    """

    def __init__(
        self, flavour: Flavour, model: str, payload: Mapping[str, Any], seq: int, created: int
    ) -> None:
        self._flavour = flavour
        self._model = model
        options = payload.get("stream_options")
        self._include_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._identity: dict[str, Any] = (
            {}
            if flavour == "bare"
            else {"id": f"chatcmpl-{seq}", "created": created, "system_fingerprint": "fp_sim"}
        )

    def frames(self, reply: Reply) -> Iterator[Frame]:
        """Role delta, reasoning, text, tool calls, finish chunk, usage chunk when asked for, `[DONE]`."""
        if self._flavour != "bare":
            yield "open", self._chunk({"role": "assistant", "content": None})
        for delta, pieces in (("reasoning_content", reply.reasoning), ("content", reply.pieces)):
            before, after = self._chunk({delta: "@"}).rsplit(b'"@"', 1)
            for piece in pieces:
                yield "token", before + json.dumps(piece).encode() + after
        for index, call in enumerate(reply.tool_calls):
            for part in self._call_parts(index, call):
                yield "token", self._chunk({"tool_calls": [part]})
        yield "finish", self._chunk({}, reply.finish_reason)
        if self._include_usage:
            yield (
                "finish",
                _event({**self._envelope("chat.completion.chunk"), "choices": [], **self._counts(reply)}),
            )
        yield DONE

    def whole(self, reply: Reply, *, finished: bool) -> dict[str, Any]:
        """A `chat.completion`."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.pieces)}
        if reply.reasoning:
            message["reasoning_content"] = "".join(reply.reasoning)
        if reply.tool_calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [
                {**_named(index, call), "function": {"name": call.name, "arguments": arguments_text(call)}}
                for index, call in enumerate(reply.tool_calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason if finished else None}
        return {**self._envelope("chat.completion"), "choices": [choice], **self._counts(reply)}

    def error_body(self, error: ErrorReply) -> dict[str, Any]:
        """The `error` object of OpenAI or of llama.cpp."""
        if self._flavour == "openai":
            kind, code = OPENAI_ERROR_TYPES.get(error.status, ("server_error", None))
            code_shown = code if error.code is None else error.code
            return openai_error(error.message, error.type or kind, code_shown)
        kind = error.type or LLAMA_CPP_ERROR_TYPES.get(error.status, "server_error")
        code_number = error.status if error.code is None else error.code
        return {"error": {"code": code_number, "message": error.message, "type": kind}}

    def error_frame(self, error: ErrorReply) -> bytes:
        """An error as a data line of the stream."""
        return _event(self.error_body(error))

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"object": kind, "model": self._model, **self._identity}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event({**self._envelope("chat.completion.chunk"), "choices": [choice]})

    def _call_parts(self, index: int, call: ToolCall) -> Iterator[dict[str, Any]]:
        yield {"index": index, **_named(index, call), "function": {"name": call.name, "arguments": ""}}
        for part in argument_parts(call):
            yield {"index": index, "function": {"arguments": part}}

    def _counts(self, reply: Reply) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        }
        if self._flavour == "bare":
            return {"usage": usage}
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached_input_tokens}
        return {"usage": usage, **(_timings(reply) if self._flavour == "llama_cpp" else {})}


def openai_error(message: str, kind: str, code: str | int | None, param: str | None = None) -> dict[str, Any]:
    """The body of an error of the OpenAI API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _named(index: int, call: ToolCall) -> dict[str, Any]:
    return {"id": call.id or f"call_{index + 1}", "type": "function"}


def _timings(reply: Reply) -> dict[str, Any]:
    per_token_ms = 1000 / reply.pace if reply.pace else 0.0
    return {
        "timings": {
            "prompt_n": reply.input_tokens - reply.cached_input_tokens,
            "prompt_ms": reply.wait_s * 1000,
            "predicted_n": reply.output_tokens,
            "predicted_ms": reply.output_tokens * per_token_ms,
            "predicted_per_token_ms": per_token_ms,
            "predicted_per_second": reply.pace,
        }
    }


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
