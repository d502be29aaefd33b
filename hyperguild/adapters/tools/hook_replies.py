"""What hooks that are programs are told and may answer: JSON objects on stdin and stdout.

::

    told                                              may answer
    {"hook": "pre_tool", "call": CALL}                {"deny": "why"} | {"arguments": {…}}
    {"hook": "post_tool", "call": CALL,
     "result": {"text": "…", "is_error": false}}      {"text": "…", "is_error": true}
    {"hook": "before_step", "messages": [MESSAGE …]}  {"messages": [MESSAGE …]}
    {"hook": "after_step", "messages": [MESSAGE …],
     "completion": {"text": "…", "finish_reason":     {"append": [MESSAGE …]} | {"messages": [MESSAGE …]},
      "stop", "tool_calls": [CALL …]}}                and "action": "stop" | "continue"
    {"hook": "stop", "answer": "…"}                   {"continue": "what is put to the model"}

A CALL is `{"id", "name", "arguments"}`; a MESSAGE is what `domain.messages.as_record` makes: `{"role",
"content"}`, and more for calls and results. `{}` and nothing at all change nothing. A message that comes back
as it was keeps what records do not show: its images, its arguments as they were written. Functions that read
answers raise `ReplyFault`, and then nothing of the answer counts.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hyperguild.agent.hooks import Control, Denied
from hyperguild.domain.message_records import RecordFault, as_record, call_record, from_record
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.text import encodable, nearest, one_line
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.inference.tool_calls import parse_arguments

QUOTED_CHARS = 80

_TYPES = {str: "text", bool: "true or false", list: "a list", dict: "an object"}

V = TypeVar("V")


class ReplyFault(ValueError):
    """An answer cannot be used. The message says what the program did, to follow its name."""


def told_of_call(call: ToolCall) -> dict[str, Any]:
    """Return what a `pre_tool` hook is told. Arguments that are no object are null, by `raw` and `fault`."""
    return {"call": call_record(call)}


def told_of_result(call: ToolCall, result: ToolResult) -> dict[str, Any]:
    """Return what a `post_tool` hook is told."""
    return {**told_of_call(call), "result": {"text": result.text, "is_error": result.is_error}}


def told_of_messages(messages: Sequence[Message]) -> dict[str, Any]:
    """Return what a `before_step` hook is told."""
    return {"messages": [as_record(message) for message in messages]}


def told_of_step(completion: Completion, messages: Sequence[Message]) -> dict[str, Any]:
    """Return what an `after_step` hook is told."""
    done = {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "tool_calls": [call_record(call) for call in completion.tool_calls],
    }
    return {"completion": done, **told_of_messages(messages)}


def read_reply(output: bytes) -> dict[str, Any]:
    """Return the object that a program printed, `{}` where it printed nothing."""
    try:
        text = output.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReplyFault("printed what is no UTF-8") from error
    reply, _, _ = parse_arguments(text)  # nothing is {}, NaN is refused, halves of characters are replaced
    if reply is None:
        raise ReplyFault(f"printed what is no JSON object: {one_line(text, QUOTED_CHARS)}")
    return reply


def call_after(call: ToolCall, reply: Mapping[str, Any]) -> ToolCall | Denied | None:
    """Return what a `pre_tool` hook makes of a call."""
    _only(reply, "deny", "arguments")
    if len(reply) > 1:
        raise ReplyFault("printed deny and arguments; only one of them can be")
    if "deny" in reply:
        return Denied(_value(reply, "deny", str).strip() or "no reason was given")
    if "arguments" in reply:
        arguments = _value(reply, "arguments", dict)
        raw = json.dumps(arguments, ensure_ascii=False)
        return dataclasses.replace(call, arguments=arguments, raw=raw, fault="")
    return None


def result_after(result: ToolResult, reply: Mapping[str, Any]) -> ToolResult | None:
    """Return what a `post_tool` hook makes of a result."""
    _only(reply, "text", "is_error")
    if not reply:
        return None
    text = _value(reply, "text", str) if "text" in reply else result.text
    is_error = _value(reply, "is_error", bool) if "is_error" in reply else result.is_error
    return dataclasses.replace(result, text=text, is_error=is_error)


def messages_after(messages: Sequence[Message], reply: Mapping[str, Any]) -> tuple[Message, ...] | None:
    """Return what a `before_step` hook puts in the place of the messages."""
    _only(reply, "messages")
    return _messages(reply, "messages", messages) if "messages" in reply else None


def steer(control: Control, messages: Sequence[Message], reply: Mapping[str, Any]) -> None:
    """Do what an `after_step` hook asks for, all of it or nothing."""
    _only(reply, "append", "messages", "action")
    if "append" in reply and "messages" in reply:
        raise ReplyFault("printed append and messages; only one of them can be")
    if reply.get("action", "stop") not in ("stop", "continue"):
        raise ReplyFault('printed an action that is neither "stop" nor "continue"')
    if "append" in reply:
        control.append(*_messages(reply, "append", ()))
    if "messages" in reply:
        control.replace(_messages(reply, "messages", messages))
    if "action" in reply:
        (control.stop if reply["action"] == "stop" else control.continue_)()


def question_after(reply: Mapping[str, Any]) -> str | None:
    """Return what a `stop` hook puts to the model."""
    _only(reply, "continue")
    if "continue" not in reply:
        return None
    question = _value(reply, "continue", str)
    if not question.strip():
        raise ReplyFault("printed an empty continue")
    return question


def _messages(reply: Mapping[str, Any], key: str, before: Sequence[Message]) -> tuple[Message, ...]:
    records = _value(reply, key, list)
    if not records:
        raise ReplyFault(f"printed an empty list of {key}")
    unchanged: dict[str, deque[Message]] = defaultdict(deque)
    for message in before:
        unchanged[_canonical(as_record(message))].append(message)
    found = []
    for index, record in enumerate(records):
        same = unchanged.get(_canonical(record))
        if same:
            found.append(same.popleft() if len(same) > 1 else same[0])
            continue
        if not isinstance(record, dict):
            raise ReplyFault(f"printed no message: {key}.{index} must be an object")
        try:
            found.append(from_record(record))
        except RecordFault as fault:
            raise ReplyFault(f"printed no message: {key}.{index}: {fault}") from fault
    return tuple(found)


def _canonical(record: Any) -> str:
    return encodable(json.dumps(record, default=dict, sort_keys=True, ensure_ascii=False))


def _only(reply: Mapping[str, Any], *known: str) -> None:
    stray = next((key for key in reply if key not in known), None)
    if stray is not None:
        near = nearest(stray, known)
        hint = f'; did it mean "{near}"?' if near else f"; known: {', '.join(known)}"
        raise ReplyFault(f'printed an unknown key "{one_line(stray, QUOTED_CHARS)}"{hint}')


def _value(reply: Mapping[str, Any], key: str, kind: type[V]) -> V:
    value = reply[key]
    if not isinstance(value, kind):
        raise ReplyFault(f"printed a wrong {key}: it must be {_TYPES[kind]}")
    return value
