"""Reads the usage figures of both protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperguild.domain.usage import Usage


def openai_usage(figures: Mapping[str, Any]) -> Usage:
    """Read `usage` of a chat completion; what is missing or no count is 0."""
    details = figures.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(figures, "prompt_tokens"),
        output_tokens=_count(figures, "completion_tokens"),
        cached_input_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
    )


def anthropic_usage(figures: Mapping[str, Any]) -> Usage:
    """Read `usage` of a message. Its `input_tokens` leaves cached ones out; ours holds them all."""
    cached = _count(figures, "cache_read_input_tokens")
    written = _count(figures, "cache_creation_input_tokens")
    return Usage(
        input_tokens=_count(figures, "input_tokens") + cached + written,
        output_tokens=_count(figures, "output_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=written,
    )


def _count(figures: Mapping[str, Any], name: str) -> int:
    value = figures.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
