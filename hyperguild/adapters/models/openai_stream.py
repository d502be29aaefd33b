"""Reads chat completions: OpenAI's, and those of llama.cpp, llama-swap, Ollama, vLLM and gateways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hyperguild.adapters.models.dialect import misshapen, parse_object
from hyperguild.adapters.models.token_counts import openai_usage
from hyperguild.adapters.wire.complaint import Complaint
from hyperguild.adapters.wire.http_errors import error_from_stream
from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.messages import (
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    Source,
    SourcesNamed,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

DONE = "[DONE]"

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class ChatChunks:
    """The `Dialect` of chat completions. Only the first choice is read: no more are asked for."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._refused = False
        self.finish: FinishReason | None = None
        self.ended = False

    def take(self, data: str) -> list[StreamPart]:
        """Take one chunk, or `[DONE]`."""
        if data.strip() == DONE:
            self.ended = True
            return []
        chunk = parse_object(data, self._peer)
        parts = self._usage(chunk)
        choice = self._first_choice(chunk)
        if choice is not None:
            delta = self._object(choice, "delta")
            if _is_loading_chatter(chunk, delta):
                return [KeepAlive()]
            parts = self._said(delta) + parts
            self._end(choice)
        return parts or [KeepAlive()]

    def take_whole(self, document: Mapping[str, Any]) -> list[StreamPart]:
        """Take a `chat.completion`."""
        choice = self._first_choice(document)
        if choice is None:
            raise misshapen(self._peer, "an answer without choices")
        parts = self._said(self._object(choice, "message"))
        self._end(choice)
        self.ended = True
        return parts + self._usage(document)

    def _first_choice(self, chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
        choices = chunk.get("choices")
        if choices is None or choices == []:
            return None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise misshapen(self._peer, "`choices` is no list of objects")
        return next((choice for choice in choices if choice.get("index", 0) in {0, None}), None)

    def _object(self, choice: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = choice.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise misshapen(self._peer, f"`{name}` is no object")
        return value

    def _said(self, message: Mapping[str, Any]) -> list[StreamPart]:
        reasoning = self._text(message.get("reasoning_content")) or self._text(message.get("reasoning"))
        refusal = self._text(message.get("refusal"))
        self._refused = self._refused or bool(refusal)
        text = self._text(message.get("content")) + refusal
        parts: list[StreamPart] = []
        if reasoning:
            parts.append(ReasoningDelta(reasoning))
        if text:
            parts.append(TextDelta(text))
        return parts + self._called(message) + _named(message.get("annotations"))

    def _called(self, message: Mapping[str, Any]) -> list[StreamPart]:
        """Return the pieces of tool calls; those without an index are told apart by their place."""
        calls = message.get("tool_calls")
        if calls is None:
            return []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise misshapen(self._peer, "`tool_calls` is no list of objects")
        return [self._call(place, call) for place, call in enumerate(calls)]

    def _call(self, place: int, call: Mapping[str, Any]) -> ToolCallDelta:
        index, function = call.get("index"), self._object(call, "function")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama sends the object itself
            arguments = json.dumps(arguments, ensure_ascii=False)
        id_, name = call.get("id"), function.get("name")
        return ToolCallDelta(
            index if isinstance(index, int) else place,
            id_ if isinstance(id_, str) else "",
            name if isinstance(name, str) else "",
            arguments if isinstance(arguments, str) else "",
        )

    def _text(self, content: object) -> str:
        """Return the text of a `content`: a string, null, or a list of parts of which the texts count."""
        if content is None:
            return ""
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            texts = (part.get("text") for part in content if isinstance(part, dict))
            return "".join(text for text in texts if isinstance(text, str))
        raise misshapen(self._peer, "`content` is neither text nor a list of parts")

    def _usage(self, chunk: Mapping[str, Any]) -> list[StreamPart]:
        usage = chunk.get("usage")
        return [UsageReport(openai_usage(usage))] if isinstance(usage, dict) and usage else []

    def _end(self, choice: Mapping[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or not reason:
            return
        if reason == "error":  # gateways end so when the provider behind them fails
            raise error_from_stream(self._peer, Complaint("the generation ended in an error"))
        self.finish = "refusal" if self._refused else _FINISH_REASONS.get(reason, "other")


def _named(annotations: object) -> list[StreamPart]:
    """Return the pages that a message cites; what has another shape is passed over, for it is no answer."""
    listed = annotations if isinstance(annotations, list) else []
    cited = [one.get("url_citation") for one in listed if isinstance(one, dict)]
    sources = [
        Source(one["url"], title if isinstance(title := one.get("title"), str) else "")
        for one in cited
        if isinstance(one, dict) and isinstance(one.get("url"), str) and one["url"]
    ]
    return [SourcesNamed(tuple(sources))] if sources else []


def _is_loading_chatter(chunk: Mapping[str, Any], delta: Mapping[str, Any]) -> bool:
    """Tell llama-swap's own words, while it loads, from a model's: they are in no chunk of a completion."""
    return "reasoning_content" in delta and not any(name in chunk for name in ("object", "id", "model"))
