"""Reads answers of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperguild.adapters.models.dialect import misshapen, parse_object
from hyperguild.adapters.models.token_counts import anthropic_usage
from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.messages import (
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    StreamPart,
    TextDelta,
    UsageReport,
)

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
"""Anthropic's stop reasons; any other one (`pause_turn`) is `other`."""


class MessageEvents:
    """The `Dialect` of the Messages API. Unknown events and blocks are passed over, as it asks for."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._figures: dict[str, Any] = {}
        self.finish: FinishReason | None = None
        self.ended = False

    def take(self, data: str) -> list[StreamPart]:
        """Take one event; its `type` counts, since the event's name repeats it."""
        event = parse_object(data, self._peer)
        parts: list[StreamPart] = []
        match event.get("type"):
            case "message_start":
                parts = self._usage(self._object(event, "message"))
            case "content_block_start":
                parts = self._said(self._object(event, "content_block"))
            case "content_block_delta":
                parts = self._said(self._object(event, "delta"))
            case "message_delta":
                self._end(self._object(event, "delta"))
                parts = self._usage(event)
            case "message_stop":
                self.ended = True
                return []
        return parts or [KeepAlive()]

    def take_whole(self, document: Mapping[str, Any]) -> list[StreamPart]:
        """Take a whole `message`."""
        content = document.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise misshapen(self._peer, "`content` is no list of blocks")
        self._end(document)
        self.ended = True
        return [part for block in content for part in self._said(block)] + self._usage(document)

    def _object(self, event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = event.get(name)
        if not isinstance(value, dict):
            raise misshapen(self._peer, f"`{name}` is no object")
        return value

    def _said(self, block: Mapping[str, Any]) -> list[StreamPart]:
        text, thinking = block.get("text"), block.get("thinking")
        kind = block.get("type")
        if kind in {"text", "text_delta"} and isinstance(text, str) and text:
            return [TextDelta(text)]
        if kind in {"thinking", "thinking_delta"} and isinstance(thinking, str) and thinking:
            return [ReasoningDelta(thinking)]
        return []

    def _usage(self, holder: Mapping[str, Any]) -> list[StreamPart]:
        figures = holder.get("usage")
        if not isinstance(figures, dict):
            return []
        # the later report has only some of the figures, and those are totals
        self._figures.update({name: value for name, value in figures.items() if value is not None})
        return [UsageReport(anthropic_usage(self._figures))]

    def _end(self, holder: Mapping[str, Any]) -> None:
        reason = holder.get("stop_reason")
        if isinstance(reason, str) and reason:
            self.finish = FINISH_REASONS.get(reason, "other")
