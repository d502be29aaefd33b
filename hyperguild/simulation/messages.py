"""The shape of Anthropic's Messages API."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hyperguild.simulation.reply import Reply, argument_parts
from hyperguild.simulation.script import ErrorReply, ToolCall
from hyperguild.simulation.streaming import Frame

STOP_REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class MessagesDialect:
    """Messages of one request; `seq` makes the ids."""

    def __init__(self, model: str, seq: int) -> None:
        self._model = model
        self._seq = seq

    def frames(self, reply: Reply) -> Iterator[Frame]:
        """`message_start`, `ping`, the content blocks, `message_delta` with the stop reason,
        `message_stop`.
        """
        start = self._message(reply, [], stop_reason=None)
        start["usage"]["output_tokens"] = 1  # the API counts the first token here
        yield "open", event("message_start", {"message": start})
        yield "open", event("ping", {})
        index = 0
        if reply.reasoning:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            yield from self._block(index, block, "thinking_delta", "thinking", reply.reasoning)
            index += 1
        if reply.pieces:
            yield from self._block(index, {"type": "text", "text": ""}, "text_delta", "text", reply.pieces)
            index += 1
        for call in reply.tool_calls:
            parts = argument_parts(call)
            yield from self._block(
                index, self._tool_use(index, call), "input_json_delta", "partial_json", parts
            )
            index += 1
        for place, block in enumerate(reply.content, index):
            yield from self._as_it_is(place, block)
        delta = {"stop_reason": stop_reason(reply), "stop_sequence": None}
        yield (
            "finish",
            event("message_delta", {"delta": delta, "usage": {"output_tokens": reply.output_tokens}}),
        )
        yield "done", event("message_stop", {})

    def whole(self, reply: Reply, *, finished: bool) -> dict[str, Any]:
        """A `message`."""
        content: list[dict[str, Any]] = []
        if reply.reasoning:
            content.append({"type": "thinking", "thinking": "".join(reply.reasoning), "signature": "sim"})
        if reply.pieces:
            content.append({"type": "text", "text": "".join(reply.pieces)})
        for call in reply.tool_calls:
            block = self._tool_use(len(content), call)
            content.append({**block, "input": call.arguments if isinstance(call.arguments, dict) else {}})
        content.extend(reply.content)
        return self._message(reply, content, stop_reason=stop_reason(reply) if finished else None)

    def error_body(self, error: ErrorReply) -> dict[str, Any]:
        """The error object with its request id."""
        return anthropic_error(error.message, error.type or error_type(error.status), self._seq)

    def error_frame(self, error: ErrorReply) -> bytes:
        """An `error` event of the stream."""
        body = {"type": error.type or error_type(error.status), "message": error.message}
        return event("error", {"error": body})

    def _message(
        self, reply: Reply, content: list[dict[str, Any]], *, stop_reason: str | None
    ) -> dict[str, Any]:
        return {
            "id": f"msg_{self._seq}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": max(
                    0, reply.input_tokens - reply.cached_input_tokens - reply.cache_write_tokens
                ),
                "cache_creation_input_tokens": reply.cache_write_tokens,
                "cache_read_input_tokens": reply.cached_input_tokens,
                "output_tokens": reply.output_tokens,
            },
        }

    def _block(
        self, index: int, block: dict[str, Any], delta_type: str, key: str, pieces: Iterable[str]
    ) -> Iterator[Frame]:
        yield "open", event("content_block_start", {"index": index, "content_block": block})
        delta = {"index": index, "delta": {"type": delta_type, key: "@"}}
        before, after = event("content_block_delta", delta).rsplit(b'"@"', 1)
        for piece in pieces:
            yield "token", before + json.dumps(piece).encode() + after
        if block["type"] == "thinking":
            signature = {"type": "signature_delta", "signature": "sim"}
            yield "open", event("content_block_delta", {"index": index, "delta": signature})
        yield "open", event("content_block_stop", {"index": index})

    def _as_it_is(self, index: int, block: dict[str, Any]) -> Iterator[Frame]:
        """The frames of a scripted block: text and arguments come in deltas, all else at its start."""
        if block.get("type") == "text":
            yield from self._block(index, {**block, "text": ""}, "text_delta", "text", [block["text"]])
        elif "input" in block:
            given = [json.dumps(block["input"])]
            yield from self._block(index, {**block, "input": {}}, "input_json_delta", "partial_json", given)
        else:
            yield "open", event("content_block_start", {"index": index, "content_block": block})
            yield "open", event("content_block_stop", {"index": index})

    def _tool_use(self, index: int, call: ToolCall) -> dict[str, Any]:
        return {
            "type": "tool_use",
            "id": call.id or f"toolu_{self._seq}_{index}",
            "name": call.name,
            "input": {},
        }


def stop_reason(reply: Reply) -> str:
    """Anthropic's word for why a reply ended; a reason it does not share with OpenAI is passed on."""
    return STOP_REASONS.get(reply.finish_reason, reply.finish_reason)


def error_type(status: int) -> str:
    """Anthropic's error type for an HTTP status."""
    return ERROR_TYPES.get(status, "api_error")


def anthropic_error(message: str, kind: str, seq: int) -> dict[str, Any]:
    """The body of an error answer."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{seq}"}


def event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; the data repeats the name as its type."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()
