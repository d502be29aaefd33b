"""A message that was stored comes back as it was."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.message_records import as_record, from_record
from hyperguild.domain.messages import Image, Message, Source, Verbatim
from hyperguild.domain.tools import ToolCall, ToolResult

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
moments = st.none() | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=7000))
calls = st.one_of(
    st.builds(
        lambda id_, name, given: ToolCall(id_, name, given, json.dumps(given, ensure_ascii=False)),
        texts,
        texts,
        objects,
    ),
    st.builds(
        lambda id_, name, raw, fault: ToolCall(id_, name, None, raw, fault), texts, texts, texts, texts
    ),
)
verbatims = st.none() | st.builds(
    lambda model, content: Verbatim(model, tuple(content)), texts, st.lists(objects, max_size=2)
)
messages = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user"]), texts),
    st.builds(
        lambda text, called, verbatim, reasoning, sources: Message(
            "assistant",
            text,
            tool_calls=tuple(called),
            verbatim=verbatim,
            reasoning=reasoning,
            sources=tuple(sources),
        ),
        texts,
        st.lists(calls, max_size=3),
        verbatims,
        texts,
        st.lists(st.builds(Source, texts, texts), max_size=2),
    ),
    st.builds(
        Message.of_result,
        st.builds(ToolResult, texts, texts, texts, st.booleans(), moments, moments, st.none() | objects),
    ),
)


@given(messages)
def test_h2_what_was_stored_comes_back(message: Message) -> None:
    stored = json.loads(json.dumps(as_record(message)))
    assert from_record(stored) == message


def test_images_are_not_kept() -> None:
    message = Message("user", "look", images=(Image("image/png", "aGk="),))
    assert from_record(as_record(message)) == Message("user", "look")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"role": "model", "content": ""},
        {"role": "user"},
        {"role": "user", "content": 1},
        {"role": "tool", "content": "", "name": "n", "is_error": False},
        {"role": "tool", "content": "", "tool_call_id": "a", "name": "n", "is_error": 0},
        {"role": "tool", "content": "", "tool_call_id": "a", "name": "n", "is_error": True, "started_at": 1},
        {"role": "tool", "content": "", "tool_call_id": "a", "name": "n", "is_error": True, "ended_at": "x"},
        {"role": "assistant", "content": "", "tool_calls": {}},
        {"role": "assistant", "content": "", "tool_calls": ["x"]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "name": "n", "arguments": []}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "name": "n"}]},
        {"role": "assistant", "content": "", "verbatim": {"model": "m"}},
        {"role": "assistant", "content": "", "verbatim": []},
        {"role": "assistant", "content": "", "reasoning": None},
    ],
)
def test_what_no_message_was_stored_as_is_refused_in_one_line(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        from_record(record)
    assert "\n" not in str(refused.value)
