"""Reads answers of Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hyperguild.adapters.models.dialect import misshapen, parse_object
from hyperguild.adapters.models.provider_blocks import sources_of
from hyperguild.adapters.models.token_counts import anthropic_usage
from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.messages import (
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    SourcesNamed,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    VerbatimContent,
)
from hyperguild.errors import ProtocolError

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "refusal": "refusal",
}
"""Anthropic's stop reasons; any other one is `other`."""


_DELTA_FIELDS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""Kinds of deltas, and the field that they add to."""


BLOCKS_MAX = 1024
"""Content blocks of one answer; with every tool of the provider in use there are dozens."""

KEPT_MAX_CHARS = 16 * 1024 * 1024
"""Of one answer's events so many characters are kept, to go back as they came."""


class MessageEvents:
    """The `Dialect` of the Messages API. Unknown events and blocks are passed over, as it asks for.

    `runners` says which of our tools runs a tool of Anthropic's, by that one's name: calls come under ours.
    """

    def __init__(self, peer: Peer, runners: Mapping[str, str] | None = None) -> None:
        self._peer = peer
        self._runners = runners or {}
        self._figures: dict[str, Any] = {}
        self._content: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._chars = 0
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
                block = self._object(event, "content_block")
                index = self._index(event, otherwise=len(self._content))
                self._begin(index, block, len(data))
                parts = self._said(block) or self._called(index, block)
            case "content_block_delta":
                delta = self._object(event, "delta")
                index = self._index(event, otherwise=max(self._content, default=0))
                self._extend(index, delta, len(data))
                parts = self._said(delta) or self._called(index, delta)
            case "message_delta":
                self._end(self._object(event, "delta"))
                parts = self._usage(event)
            case "message_stop":
                self.ended = True
                return self._kept()
        return parts or [KeepAlive()]

    def take_whole(self, document: Mapping[str, Any]) -> list[StreamPart]:
        """Take a whole `message`."""
        content = document.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise misshapen(self._peer, "`content` is no list of blocks")
        self._end(document)
        self.ended = True
        for index, block in enumerate(content):
            self._begin(index, block, 0)
        parts = [
            part
            for index, block in enumerate(content)
            for part in self._said(block) or self._called(index, block)
        ]
        return [*parts, *self._usage(document), *self._kept()]

    def _index(self, event: Mapping[str, Any], *, otherwise: int) -> int:
        index = event.get("index")
        return index if isinstance(index, int) else otherwise

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

    def _called(self, index: int, block: Mapping[str, Any]) -> list[StreamPart]:
        """Return the piece of a tool call that a block's start, a delta or a whole block holds."""
        if block.get("type") == "input_json_delta" and self._content.get(index, {}).get("type") == "tool_use":
            return [ToolCallDelta(index, arguments=str(block.get("partial_json") or ""))]
        if block.get("type") != "tool_use":
            return []
        given = block.get("input")
        arguments = json.dumps(given, ensure_ascii=False) if given else ""
        name = str(block.get("name") or "")
        return [ToolCallDelta(index, str(block.get("id") or ""), self._runners.get(name, name), arguments)]

    def _begin(self, index: int, block: Mapping[str, Any], chars: int) -> None:
        """Take up a block, which an event of so many characters brought."""
        self._keep(chars)
        self._content[index] = dict(block)
        self._pieces = {key: pieces for key, pieces in self._pieces.items() if key[0] != index}
        if len(self._content) > BLOCKS_MAX:
            raise misshapen(self._peer, f"an answer of more than {BLOCKS_MAX} content blocks")

    def _extend(self, index: int, delta: Mapping[str, Any], chars: int) -> None:
        """Add a delta to the block that it belongs to."""
        if index not in self._content:
            self._begin(index, {}, 0)
        block = self._content[index]
        field = _DELTA_FIELDS.get(str(delta.get("type")))
        if field is not None and isinstance(delta.get(field), str):
            self._keep(len(delta[field]))
            # joined once, at the end: a text that grows piece by piece is copied with every one
            first = [str(block.get(field) or "")]
            self._pieces.setdefault((index, field), first).append(delta[field])
        elif delta.get("type") == "citations_delta" and "citation" in delta:
            self._keep(chars)
            if not isinstance(block.get("citations"), list):
                block["citations"] = []
            block["citations"].append(delta["citation"])

    def _keep(self, chars: int) -> None:
        self._chars += chars
        if self._chars > KEPT_MAX_CHARS:
            message = f"{self._peer.who} sends an answer of more than {KEPT_MAX_CHARS} characters"
            raise self._peer.error(ProtocolError, message)

    def _kept(self) -> list[StreamPart]:
        """Return the sources, and the content as it came if texts and calls alone would not say it all."""
        for (index, field), pieces in self._pieces.items():
            self._content[index][field] = "".join(pieces)
        self._pieces.clear()
        blocks = [_sealed(block) for _, block in sorted(self._content.items())]
        kept = tuple(block for block in blocks if block is not None)
        sources = sources_of(kept)
        parts: list[StreamPart] = [SourcesNamed(sources)] if sources else []
        if all(block.get("type") in {"text", "tool_use"} for block in kept):
            return parts
        return [*parts, VerbatimContent(kept)]

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


def _sealed(block: dict[str, Any]) -> dict[str, Any] | None:
    """Return a block as it may go back; None for one that may not: thinking without its signature, no text.

    The arguments of a call came as text; where that is broken, the call is answered by an error anyway.
    """
    if block.get("type") == "thinking" and not block.get("signature"):
        return None
    if block.get("type") == "text" and not block.get("text"):
        return None
    if "partial_json" in block:
        sealed = {name: value for name, value in block.items() if name != "partial_json"}
        try:
            given = json.loads(block["partial_json"] or "{}")
        except (ValueError, RecursionError):
            given = {}
        return {**sealed, "input": given if isinstance(given, dict) else {}}
    return block
