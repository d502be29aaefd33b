"""Messages as they are stored, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hyperguild.domain.message_records import RecordFault, as_record, from_record
from hyperguild.domain.messages import Message, Verbatim
from hyperguild.domain.tools import ToolCall, ToolResult

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 987_000, tzinfo=UTC)
BACK_AND_FORTH = [
    Message("system", "Be brief."),
    Message("user", "größer\n\x00"),
    Message("user", ""),
    Message("assistant", "so", reasoning="hm"),
    Message(
        "assistant",
        "",
        tool_calls=(
            ToolCall("1", "fs_read", {"path": "ä", "n": [1, None]}, '{"path": "ä", "n": [1, null]}'),
            ToolCall("2", "shell", {}, "{}"),
            ToolCall("3", "shell", None, "{", "the arguments are not valid JSON: …"),
        ),
        verbatim=Verbatim("claude", ({"type": "thinking", "signature": "x"}, {})),
    ),
    Message.of_result(ToolResult("1", "fs_read", "text", False, MOMENT, MOMENT)),
    Message.of_result(ToolResult("2", "shell", "", True)),
    Message.of_result(ToolResult("2", "shell", "", ran_with={"command": "ls"})),
]


@pytest.mark.parametrize("message", BACK_AND_FORTH)
def test_what_is_stored_can_be_read_back(message: Message) -> None:
    assert from_record(as_record(message)) == message
    assert from_record(json.loads(json.dumps(as_record(message)))) == message


RESULT: dict[str, Any] = {
    "role": "tool",
    "content": "x",
    "tool_call_id": "1",
    "name": "shell",
    "is_error": False,
}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RESULT.items() if name != key}


def calling(call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def quoting(verbatim: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "verbatim": verbatim}


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({}, "role: required"),
        ({"role": "user"}, "content: required"),
        ({"role": 1, "content": ""}, "role: must be text"),
        ({"role": "developer", "content": ""}, "role: must be one of system, user, assistant, tool"),
        ({"role": "user", "content": [{"type": "text"}]}, "content: must be text"),
        ({"role": "user", "content": None}, "content: must be text"),
        ({"role": "user", "content": "", "x\n": 1}, "unknown key 'x\\n' in a message of the role user"),
        ({"role": "user", "content": "", "tool_calls": []},
         "unknown key 'tool_calls' in a message of the role user"),
        ({"role": "assistant", "content": "", "tool_call_id": "1"},
         "unknown key 'tool_call_id' in a message of the role assistant"),
        (without("tool_call_id"), "tool_call_id: required"),
        (without("name"), "name: required"),
        (without("is_error"), "is_error: required"),
        ({**RESULT, "is_error": 0}, "is_error: must be true or false"),
        ({**RESULT, "started_at": "now"}, "started_at: must be a time, as in ISO 8601"),
        ({**RESULT, "started_at": 1}, "started_at: must be a time, as in ISO 8601"),
        ({**RESULT, "ended_at": "2026-05-04T03:02:01"}, "ended_at: must have an offset from UTC"),
        ({**RESULT, "ran_with": None}, "ran_with: must be an object"),
        ({"role": "assistant", "content": "", "reasoning": None}, "reasoning: must be text"),
        ({"role": "assistant", "content": "", "tool_calls": {}}, "tool_calls: must be a list"),
        (calling("shell"), "tool_calls.0: must be an object"),
        (calling({"id": "1", "name": "shell"}), "tool_calls.0.arguments: required"),
        (calling({"id": "1", "name": "shell", "arguments": "{}"}),
         "tool_calls.0.arguments: must be an object"),
        (calling({"name": "shell", "arguments": {}}), "tool_calls.0.id: required"),
        (calling({"id": "1", "name": 2, "arguments": {}}), "tool_calls.0.name: must be text"),
        (calling({"id": "1", "name": "shell", "arguments": {}, "raw": "{}"}),
         "unknown key 'raw' in tool_calls.0"),
        (calling({"id": "1", "name": "shell", "arguments": None, "raw": "{"}),
         "tool_calls.0.fault: required"),
        (calling({"type": "function", "function": {}}), "unknown key 'type' in tool_calls.0"),
        (quoting([]), "verbatim: must be an object"),
        (quoting({"model": "m"}), "verbatim.content: required"),
        (quoting({"model": 1, "content": []}), "verbatim.model: must be text"),
        (quoting({"model": "m", "content": ["x"]}), "verbatim.content: must be a list of objects"),
        (quoting({"model": "m", "content": [], "x": 1}), "unknown key 'x' in verbatim"),
    ],
)  # fmt: skip
def test_what_was_never_stored_is_refused(record: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecordFault) as caught:
        from_record(record)
    assert str(caught.value) == fault
