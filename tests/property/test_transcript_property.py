"""A1: whatever is put together, a repaired transcript has one result for each call, in call order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.agent.transcript import INTERRUPTED, faults, repaired
from hyperguild.domain.messages import Message, Verbatim
from hyperguild.domain.tools import ToolCall, ToolResult

ids = st.sampled_from(["", "a", "b", "c"])
calls = st.builds(lambda id_: ToolCall(id_, "fs_read", {}), ids)
messages = st.one_of(
    st.builds(lambda text: Message("user", text), st.text(max_size=3)),
    st.builds(
        lambda called: Message("assistant", "t", tool_calls=tuple(called), verbatim=Verbatim("m", ({},))),
        st.lists(calls, max_size=3),
    ),
    st.builds(
        lambda id_, text: Message.of_result(ToolResult(id_, "fs_read", text)), ids, st.text(max_size=3)
    ),
)
transcripts = st.lists(messages, max_size=12)


def fresh() -> Callable[[], str]:
    counter = itertools.count()
    return lambda: f"new-{next(counter)}"


def others(transcript: Sequence[Message]) -> list[tuple[str, str]]:
    return [(one.role, one.text) for one in transcript if one.result is None]


@given(transcripts)
def test_a1_a_repaired_transcript_has_no_faults(transcript: list[Message]) -> None:
    mended = repaired(transcript, fresh())
    assert faults(mended) == []
    assert repaired(mended, fresh()) == mended


@given(transcripts)
def test_a1_repairs_lose_no_message_but_stray_results(transcript: list[Message]) -> None:
    mended = repaired(transcript, fresh())
    assert others(mended) == others(transcript)
    assert sum(len(one.tool_calls) for one in mended) == sum(one.result is not None for one in mended)


@given(transcripts)
def test_a1_what_is_whole_is_left_alone(transcript: list[Message]) -> None:
    if not faults(transcript):
        assert repaired(transcript, fresh()) == tuple(transcript)
    for one in repaired(transcript, fresh()):
        if one.verbatim is not None:
            assert one in transcript


def test_a1_results_keep_their_calls_when_they_come_late_or_in_another_order() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("a", "x", {}), ToolCall("b", "y", {})))
    injected = Message("user", "hurry")
    b, a = (Message.of_result(ToolResult(name, name, f"result {name}")) for name in "ba")
    assert repaired([called, b, injected, a], fresh()) == (called, a, b, injected)


def test_a1_a_call_without_a_result_is_answered_by_an_error() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("a", "x", {}),))
    _, result = repaired([called], fresh())
    assert result.result is not None
    assert (result.result.text, result.result.is_error) == (INTERRUPTED, True)


def test_a1_calls_that_share_an_id_each_get_one_of_their_own() -> None:
    called = Message(
        "assistant", "", tool_calls=(ToolCall("a", "x", {}), ToolCall("a", "y", {}), ToolCall("", "z", {}))
    )
    first = Message.of_result(ToolResult("a", "x", "one"))
    mended = repaired([called, first], fresh())
    assert [call.id for call in mended[0].tool_calls] == ["a", "new-0", "new-1"]
    assert [one.text for one in mended[1:]] == ["one", INTERRUPTED, INTERRUPTED]
