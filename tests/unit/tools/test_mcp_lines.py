"""C5: what a server writes is cut into messages in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.adapters.tools.mcp_lines import LineCutter, TooLong, message_from, refusal_of


def cut(chunks: list[bytes], limit_bytes: int = 1000) -> list[bytes | TooLong]:
    lines = LineCutter(limit_bytes)
    return [line for chunk in chunks for line in lines.take(chunk)]


@given(lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"-"))), data=st.data())
def test_c5_mcp_lines_are_whole_however_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    chunks = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert cut(chunks) == [line for line in lines if line.strip()]


def test_c5_mcp_of_a_line_that_is_too_long_only_its_id_is_kept() -> None:
    first = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * 5000 + b'"}\n'
    last = b'{"result":"' + b"x" * 5000 + b'","jsonrpc":"2.0","id":8}\n'
    neither = b"x" * 5000 + b"\n"
    chunks = [(first + last + neither + b"after\n")[at : at + 300] for at in range(0, 16_000, 300)]
    assert cut(chunks) == [
        TooLong(len(first) - 1, 7),
        TooLong(len(last) - 1, 8),
        TooLong(len(neither) - 1, None),
        b"after",
    ]


def test_c5_mcp_a_long_line_takes_no_memory() -> None:
    lines = LineCutter(1000)
    for _ in range(1000):
        assert list(lines.take(b"x" * 1000)) == []
    assert len(lines._line) <= 1000


def test_c5_mcp_an_answer_that_is_too_long_is_refused_in_its_place() -> None:
    refusal = refusal_of(TooLong(9_000_000, 7))
    assert refusal is not None
    assert (refusal.id, "9000000 bytes" in refusal.error.message) == (7, True)
    assert refusal_of(TooLong(9_000_000, None)) is None


def test_c5_mcp_lines_that_are_no_messages_are_passed_over() -> None:
    for noise in (b"INFO started", b"[1]", b"{}", b'"text"', b"\xff\xfe", b"[" * 100_000):
        assert message_from(noise) is None
