"""Messages as they are stored and shown, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from hyperguild.domain.messages import Message, Role, Source, Verbatim
from hyperguild.domain.tools import ToolCall, ToolResult


def as_record(message: Message) -> dict[str, Any]:
    """Return a message as it is stored and shown: `role` and `content`, and what else it has.

    `tool_calls` are `{id, name, arguments}` (`raw` and `fault` where the arguments are no object); a tool's
    message has `tool_call_id`, `name`, `is_error`, and where they are known `started_at`, `ended_at` and
    `ran_with`. `sources` are `{url, title}`. Images are not kept.
    """
    record: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        record["tool_calls"] = [call_record(call) for call in message.tool_calls]
    if message.result is not None:
        result = message.result
        record |= {"tool_call_id": result.call_id, "name": result.name, "is_error": result.is_error}
        for name, moment in (("started_at", result.started_at), ("ended_at", result.ended_at)):
            if moment is not None:
                record[name] = moment.isoformat(timespec="milliseconds")
        if result.ran_with is not None:
            record["ran_with"] = dict(result.ran_with)
    if message.reasoning:
        record["reasoning"] = message.reasoning
    if message.verbatim is not None:
        record["verbatim"] = {"model": message.verbatim.model, "content": list(message.verbatim.content)}
    if message.sources:
        record["sources"] = [{"url": source.url, "title": source.title} for source in message.sources]
    return record


def call_record(call: ToolCall) -> dict[str, Any]:
    """Return a call as it is stored and shown: `{id, name, arguments}`; `raw` and `fault` if that is null."""
    record: dict[str, Any] = {"id": call.id, "name": call.name, "arguments": call.arguments}
    return record if call.arguments is not None else {**record, "raw": call.raw, "fault": call.fault}


_FIELDS: Mapping[Role, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "reasoning", "verbatim", "sources"}),
    "tool": frozenset(
        {"role", "content", "tool_call_id", "name", "is_error", "started_at", "ended_at", "ran_with"}
    ),
}
_CALL_FIELDS = frozenset({"id", "name", "arguments"})
_SOURCE_FIELDS = frozenset({"url", "title"})
_JSON_NAMES = {str: "text", bool: "true or false", list: "a list", dict: "an object"}

F = TypeVar("F")


class RecordFault(ValueError):
    """A record is not that of a message; the message says, in one line, what is wrong where."""


def from_record(record: Mapping[str, Any]) -> Message:
    """Return the message that `as_record` made this of; images are gone, and a call's `raw` is written anew.

    Raises `RecordFault` for anything that `as_record` cannot have made.
    """
    given = _field(record, "role", str)
    role = next((known for known in _FIELDS if known == given), None)
    if role is None:
        raise RecordFault(f"role: must be one of {', '.join(_FIELDS)}")
    _refuse_others(record, _FIELDS[role], f" in a message of the role {role}")
    text = _field(record, "content", str)
    if role == "tool":
        return Message.of_result(_result_of(record, text))
    calls = _field(record, "tool_calls", list) if "tool_calls" in record else []
    return Message(
        role,
        text,
        tool_calls=tuple(_call_of(call, f"tool_calls.{index}") for index, call in enumerate(calls)),
        verbatim=_verbatim_of(_field(record, "verbatim", dict)) if "verbatim" in record else None,
        reasoning=_field(record, "reasoning", str) if "reasoning" in record else "",
        sources=_sources_of(_field(record, "sources", list)) if "sources" in record else (),
    )


def _result_of(record: Mapping[str, Any], text: str) -> ToolResult:
    return ToolResult(
        _field(record, "tool_call_id", str),
        _field(record, "name", str),
        text,
        _field(record, "is_error", bool),
        _moment_of(record, "started_at"),
        _moment_of(record, "ended_at"),
        _field(record, "ran_with", dict) if "ran_with" in record else None,
    )


def _call_of(record: Any, where: str) -> ToolCall:
    if not isinstance(record, dict):
        raise RecordFault(f"{where}: must be an object")
    is_faulty = "arguments" in record and record["arguments"] is None
    _refuse_others(record, _CALL_FIELDS | {"raw", "fault"} if is_faulty else _CALL_FIELDS, f" in {where}")
    names = _field(record, "id", str, f"{where}."), _field(record, "name", str, f"{where}.")
    if is_faulty:
        raw, fault = _field(record, "raw", str, f"{where}."), _field(record, "fault", str, f"{where}.")
        return ToolCall(*names, None, raw, fault)
    arguments = _field(record, "arguments", dict, f"{where}.")
    return ToolCall(*names, arguments, json.dumps(arguments, ensure_ascii=False))


def _verbatim_of(record: Mapping[str, Any]) -> Verbatim:
    _refuse_others(record, frozenset({"model", "content"}), " in verbatim")
    content = _field(record, "content", list, "verbatim.")
    if not all(isinstance(part, dict) for part in content):
        raise RecordFault("verbatim.content: must be a list of objects")
    return Verbatim(_field(record, "model", str, "verbatim."), tuple(content))


def _sources_of(records: list[Any]) -> tuple[Source, ...]:
    found = []
    for index, record in enumerate(records):
        where = f"sources.{index}"
        if not isinstance(record, dict):
            raise RecordFault(f"{where}: must be an object")
        _refuse_others(record, _SOURCE_FIELDS, f" in {where}")
        found.append(
            Source(_field(record, "url", str, f"{where}."), _field(record, "title", str, f"{where}."))
        )
    return tuple(found)


def _moment_of(record: Mapping[str, Any], key: str) -> datetime | None:
    if key not in record:
        return None
    try:
        moment = datetime.fromisoformat(_field(record, key, str))
    except ValueError as error:
        raise RecordFault(f"{key}: must be a time, as in ISO 8601") from error
    if moment.tzinfo is None:
        raise RecordFault(f"{key}: must have an offset from UTC")
    return moment


def _field(record: Mapping[str, Any], key: str, kind: type[F], where: str = "") -> F:
    if key not in record:
        raise RecordFault(f"{where}{key}: required")
    value = record[key]
    if not isinstance(value, kind):
        raise RecordFault(f"{where}{key}: must be {_JSON_NAMES[kind]}")
    return value


def _refuse_others(record: Mapping[str, Any], known: frozenset[str], place: str) -> None:
    other = next((key for key in record if key not in known), None)
    if other is not None:
        raise RecordFault(f"unknown key {str(other)[:40]!r}{place}")
