"""Whatever bytes come, in whatever pieces: only model errors, and the pieces change nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_support import anthropic, chunk, data, events, model_on, swap

from hyperguild.adapters.models.anthropic_stream import MessageEvents
from hyperguild.adapters.models.dialect import Dialect, finished, parse_object, take_event
from hyperguild.adapters.models.openai_stream import ChatChunks
from hyperguild.adapters.models.sse import BrokenStreamError, EventDecoder
from hyperguild.adapters.wire.http_errors import error_from_response
from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.messages import StreamPart
from hyperguild.errors import ModelError

SWAP_PEER = Peer(swap(), "phi4", model_on(swap()).upstream)
CLOUD_PEER = Peer(anthropic(), "claude", "claude")

DIALECTS: list[tuple[Callable[[Peer], Dialect], Peer]] = [
    (ChatChunks, SWAP_PEER),
    (MessageEvents, CLOUD_PEER),
]

CHAT = data(
    chunk({"role": "assistant", "content": None}),
    chunk({"reasoning_content": "grübel …"}),
    chunk({"content": "Grüße, 世界 🎈\r\n"}),
    chunk({}, "stop"),
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    "[DONE]",
)
MESSAGE = events(
    ("message_start", {"message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}),
    ("ping", {}),
    ("content_block_delta", {"delta": {"type": "text_delta", "text": "Grüße, 世界 🎈"}}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
    ("message_stop", {}),
)

Outcome = tuple[list[StreamPart], str]


def read(pieces: Sequence[bytes], make: Callable[[Peer], Dialect], peer: Peer) -> Outcome:
    """Read a stream as the client does, without the network; return its parts and how it ended."""
    decoder, dialect = EventDecoder(), make(peer)
    parts: list[StreamPart] = []
    try:
        for piece in pieces:
            for event in decoder.feed(piece):
                parts += take_event(event, dialect, peer)
        for event in decoder.flush():
            parts += take_event(event, dialect, peer)
        return parts, finished(dialect, peer)
    except (ModelError, BrokenStreamError) as error:
        return parts, f"{type(error).__name__}: {error}"


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


PLACES = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)
LINES = st.sampled_from(
    [
        b"data: ",
        b"event: error\n",
        b"error: {}",
        b"\n\n",
        b"\r",
        b"\r\n",
        b": ping\n",
        b"[DONE]",
        b'{"error": {"message": "x"}}',
        b'{"choices": [{"delta": {"content": "x"}}]}',
        b'{"type": "message_delta", "delta": {}}',
        b"\xff",
    ]
)
FIELDS = [
    "choices",
    "delta",
    "message",
    "content",
    "finish_reason",
    "usage",
    "error",
    "type",
    "code",
    "text",
    "index",
    "object",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "stop_reason",
    "content_block",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(("make", "peer"), DIALECTS)
@pytest.mark.parametrize("body", [CHAT, MESSAGE])
@settings(deadline=None)
@given(places=PLACES)
def test_pieces_change_nothing(
    make: Callable[[Peer], Dialect], peer: Peer, body: bytes, places: list[int]
) -> None:
    assert read(cut(body, places), make, peer) == read([body], make, peer)


@pytest.mark.parametrize(("make", "peer", "body"), [(*DIALECTS[0], CHAT), (*DIALECTS[1], MESSAGE)])
def test_each_byte_alone_is_a_good_answer_too(
    make: Callable[[Peer], Dialect], peer: Peer, body: bytes
) -> None:
    parts, end = read([body[at : at + 1] for at in range(len(body))], make, peer)

    assert end == "stop"
    assert parts


@pytest.mark.parametrize(("make", "peer"), DIALECTS)
@settings(deadline=None)
@given(pieces=st.lists(LINES | st.binary(max_size=20), max_size=20), places=PLACES)
def test_any_bytes_end_in_a_model_error(
    make: Callable[[Peer], Dialect], peer: Peer, pieces: list[bytes], places: list[int]
) -> None:
    whole = b"".join(pieces)

    assert read(cut(whole, places), make, peer) == read([whole], make, peer)


@pytest.mark.parametrize(("make", "peer"), DIALECTS)
@settings(deadline=None)
@given(values=st.lists(JSON, max_size=4), kind=st.sampled_from(["message_start", "content_block_delta", "x"]))
def test_any_json_ends_in_a_model_error(
    make: Callable[[Peer], Dialect], peer: Peer, values: list[object], kind: str
) -> None:
    documents = [{"type": kind, **value} if isinstance(value, dict) else value for value in values]
    read([data(*(json.dumps(document) for document in documents))], make, peer)
    for document in documents:
        try:
            make(peer).take_whole(parse_object(json.dumps(document), peer))
        except ModelError:
            continue


@settings(deadline=None)
@given(
    status=st.integers(min_value=100, max_value=999),
    body=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()),
    retry_after=st.text(max_size=10),
)
def test_any_error_body_becomes_a_fitting_error(status: int, body: bytes, retry_after: str) -> None:
    error = error_from_response(SWAP_PEER, status, {"retry-after": retry_after}, body)

    assert error.status == status
    assert error.message.isprintable()
    assert len(error.message) <= 500
