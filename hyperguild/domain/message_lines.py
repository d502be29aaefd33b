"""Stored messages in a line: whose they are, and what is called with what."""

from __future__ import annotations

import json
from typing import Any

from hyperguild.domain.text import one_line

CALL_CHARS = 240
"""Of a call on one line."""


def message_title(message: dict[str, Any]) -> str:
    """Return whose message it is: its role, or the tool whose result it is."""
    role = str(message.get("role", "unknown role"))
    if role != "tool":
        return role
    what = "error" if message.get("is_error") else "result"
    return f"{what} of {one_line(str(message.get('name', 'a tool')), 60)}"


def call_line(call: dict[str, Any]) -> str:
    """Return a call on one line: the tool, and what it is called with."""
    arguments = call.get("arguments")
    if arguments is None:
        return f"{call.get('name')} {one_line(str(call.get('raw', '')), CALL_CHARS)}"
    given = " ".join(
        f"{name}={one_line(value if isinstance(value, str) else json.dumps(value), 120)}"
        for name, value in arguments.items()
    )
    return one_line(f"{call.get('name')} {given}", CALL_CHARS)


def prompt_length(messages: tuple[dict[str, Any], ...]) -> int:
    """Return how many messages come before the model's first own one."""
    for place, message in enumerate(messages):
        if message.get("role") in {"assistant", "tool"}:
            return place
    return len(messages)
