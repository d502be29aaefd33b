"""The one invariant of every transcript: each tool call has exactly one result, in call order. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hyperguild.domain.messages import Message
from hyperguild.domain.tools import ToolCall, ToolResult

INTERRUPTED = "interrupted before it produced a result"
"""What a model is told of a call that never came to its end."""

UNSENDABLE = re.compile(r"[^A-Za-z0-9_-]")
NAME_MAX_CHARS = 64
"""Of a tool's name, as OpenAI's and Anthropic's APIs take it."""


def faults(messages: Sequence[Message]) -> list[str]:
    """Return what is wrong with the transcript, in words; nothing where each call has its one result."""
    found: list[str] = []
    open_calls: list[ToolCall] = []
    seen: set[str] = set()
    for place, message in enumerate(messages):
        if message.result is None:
            found += [f"call {call.id} has no result before message {place}" for call in open_calls]
            open_calls = list(message.tool_calls)
            for call in open_calls:
                if not call.id or call.id in seen:
                    found.append(f"call id {call.id!r} of message {place} is not its own")
                seen.add(call.id)
        elif open_calls and open_calls[0].id == message.result.call_id:
            del open_calls[0]
        else:
            found.append(f"result {place} ({message.result.call_id}) is not that of the next open call")
    return found + [f"call {call.id} has no result" for call in open_calls]


def repaired(messages: Sequence[Message], new_id: Callable[[], str]) -> tuple[Message, ...]:
    """Return the transcript with each call followed by its one result, in call order.

    Ids that are missing or stand twice are drawn anew, the results following them. Of several results of one
    call the first counts; a call without any gets the error `INTERRUPTED`; a result without a call is
    dropped; what stands between calls and their results comes after them. A message whose calls were changed
    loses its verbatim form. A transcript without faults comes back as it is.
    """
    if not faults(messages):
        return tuple(messages)
    mended: list[Message] = []
    seen: set[str] = set()
    for place, message in enumerate(messages):
        if message.result is not None:
            continue  # it has been put behind its call, or has none
        calls = with_own_ids(message.tool_calls, seen, new_id)
        seen |= {call.id for call in calls}
        same = calls == message.tool_calls
        mended.append(message if same else replace(message, tool_calls=calls, verbatim=None))
        results = _results_after(messages, place) if calls else {}
        for former, call in zip(message.tool_calls, calls, strict=True):
            result = results.pop(former.id, None) or interrupted(call)
            mended.append(Message.of_result(replace(result, call_id=call.id)))
    return tuple(mended)


def with_own_ids(
    calls: Sequence[ToolCall], taken: Iterable[str], new_id: Callable[[], str]
) -> tuple[ToolCall, ...]:
    """Return the calls with an id of its own each: those that are missing, or taken, are drawn anew."""
    seen = set(taken)
    owned = []
    for call in calls:
        one = call if call.id and call.id not in seen else replace(call, id=new_id())
        seen.add(one.id)
        owned.append(one)
    return tuple(owned)


def with_sendable_names(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Return the calls under names that can be sent back, whatever the model made up.

    Both APIs refuse a whole request for one name that has a dot or a blank, is empty or over 64 characters.
    """
    names = (UNSENDABLE.sub("_", call.name)[:NAME_MAX_CHARS] or "unnamed" for call in calls)
    return tuple(
        call if call.name == name else replace(call, name=name)
        for call, name in zip(calls, names, strict=True)
    )


def interrupted(call: ToolCall) -> ToolResult:
    """Return the result of a call that never came to its end."""
    return ToolResult(call.id, call.name, INTERRUPTED, is_error=True)


def _results_after(messages: Sequence[Message], place: int) -> dict[str, ToolResult]:
    """Return the first result of each call, from here to the next message with calls."""
    results: dict[str, ToolResult] = {}
    for message in messages[place + 1 :]:
        if message.tool_calls:
            break
        if message.result is not None:
            results.setdefault(message.result.call_id, message.result)
    return results
