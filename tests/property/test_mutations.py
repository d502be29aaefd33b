"""Valid inputs, spoiled at random by the thousand: whatever comes, only our own errors, and soon.

Hypothesis looks for such inputs too (beside this file, and tests/wire/test_stream_fuzz.py); mutation of what
is valid gets deeper, and is many times as fast.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from figures import FIGURE
from wire_support import anthropic, chunk, data, events, model_on, swap

from hyperguild.adapters.models.anthropic_stream import MessageEvents
from hyperguild.adapters.models.dialect import Dialect, finished, parse_object, take_event
from hyperguild.adapters.models.openai_stream import ChatChunks
from hyperguild.adapters.models.sse import BrokenStreamError, EventDecoder
from hyperguild.adapters.wire.peer import Peer
from hyperguild.config.loader import load_config
from hyperguild.domain.messages import StreamPart, TextDelta, ToolCallDelta
from hyperguild.errors import ConfigError, ModelError
from hyperguild.inference.reasoning import ThinkSplitter
from hyperguild.inference.tool_calls import CallAssembly
from hyperguild.skills import SkillCatalog, check_catalog
from hyperguild.verification.judge_reply import NoVerdictError, parse_reply

SEED = 20_261_121
INPUT_MAX_BYTES = 200_000
ONE_LIMIT_S = 20.0
"""For one input, on a busy machine: against parsers that take quadratic time, or for ever."""

REPOSITORY = Path(__file__).parents[2]
PEERS = (Peer(swap(), "phi4", model_on(swap()).upstream), Peer(anthropic(), "claude", "claude"))


def fenced(path: Path, language: str) -> Iterator[bytes]:
    """Yield the fenced blocks of a Markdown file."""
    for block in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        yield block.encode()


CONFIGS = [
    (REPOSITORY / "chains.yaml").read_bytes(),
    *(block for page in sorted((REPOSITORY / "docs").glob("*.md")) for block in fenced(page, "yaml")),
    b"""\
version: 1
endpoints: {a: {kind: openai, base_url: 'http://127.0.0.1:1/v1', headers: {x: '${Y:-z}'}}}
models: {m: &m {endpoint: a, params: {stop: [x]}}, n: {<<: *m, price: {input: 1, output: 2.5}}}
verifiers: {default: {checks: [{kind: regex, pattern: '^a(b|c)*'}], judge: {model: [m, n], votes: 3}}}
chains: {default: {tiers: [m, {model: n, attempts: 2}], budget: {cost_usd: 0.5, seconds: 3}}}
""",
]
SKILLS = [path.read_bytes() for path in sorted((REPOSITORY / "skills").glob("*/SKILL.md"))]
STREAMS = [
    data(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "grübel …"}),
        chunk({"content": "<think>hm</think>Grüße, 世界 🎈\r\n"}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "fs_read", "arguments": '{"p'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '": 1e3}'}}]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}},
        "[DONE]",
    ),
    events(
        ("message_start", {"message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}),
        ("ping", {}),
        ("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}),
        ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": "", "citations": []}}),
        ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Grüße 🎈"}}),
        (
            "content_block_delta",
            {"index": 1, "delta": {"type": "citations_delta", "citation": {"url": "http://a", "title": "A"}}},
        ),
        ("content_block_start", {"index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "x"}}),
        (
            "content_block_delta",
            {"index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        ),
        ("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
        ("message_stop", {}),
    ),
    b'\xef\xbb\xbf: ping\r\nerror: {"message": "x", "code": 503}\r\n\r\ndata: {"error": {}}\n\n',
    b'{"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}, "finish_reason": "stop"}]}',
    b'{"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}',
]
REPLIES = [
    b'{"accept": true, "score": 0.9, "feedback": "names the line \\ud83c\\udf88"}',
    b'<think>let me see</think>\n```json\n{"accept": false, "score": 0, "feedback": "mi\xc3\x9fes"}\n```\n',
    b'{"feedback": "", "score": 1e0, "accept": true}',
]
WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b"'", b":", b": ", b",", b"- ", b"#", b"&a ", b"*a", b"<<: ", b"!!int "),
    *(b"\n", b"\r", b"\r\n", b"\t", b"\0", b"\x85", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\\ud800", b"\\u0000", b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"0x", b"9" * 400),
    *(
        b"${",
        b"${X",
        b"---\n",
        b"...",
        b"|\n",
        b">-\n",
        b"%YAML 1.1\n",
        b"? ",
        b"[" * 300,
        b"{" * 300,
        b"(a+)+$",
    ),
    *(
        b"data: ",
        b"event: error\n",
        b"error: ",
        b"<think>",
        b"</think>",
        b"```",
        b"2026-01-01",
        b"1:30",
        b"~",
    ),
)


class Spoiler:
    """Makes inputs of valid ones: the same again for the same seed."""

    def __init__(self, samples: Sequence[bytes], seed: int = SEED) -> None:
        self._samples = samples
        self._drawn = random.Random(seed)  # noqa: S311 - not a secret

    def inputs(self, number: int) -> Iterator[bytes]:
        """Yield so many inputs: 1 to 8 changes each, now and then bytes without any sense."""
        for _ in range(number):
            if self._drawn.random() < 0.02:
                yield self._drawn.randbytes(self._drawn.randrange(200))
                continue
            text = bytearray(self._drawn.choice(self._samples))
            for _ in range(self._drawn.choice((1, 1, 1, 2, 3, 5, 8))):
                self._spoil(text)
            yield bytes(text[:INPUT_MAX_BYTES])

    def cut(self, body: bytes) -> list[bytes]:
        """Return the bytes in pieces."""
        places = sorted(self._drawn.randrange(len(body) + 1) for _ in range(self._drawn.randrange(6)))
        edges = [0, *places, len(body)]
        return [body[start:end] for start, end in itertools.pairwise(edges)]

    def _spoil(self, text: bytearray) -> None:
        drawn = self._drawn
        start = drawn.randrange(len(text) + 1)
        end = min(len(text), start + drawn.choice((1, 2, 5, 20, 100)))
        match drawn.randrange(7):
            case 0:
                text[start:start] = drawn.choice(WORDS)
            case 1:
                text[start:end] = drawn.choice(WORDS)
            case 2:
                del text[start:end]
            case 3:
                text[start:end] = bytes(text[start:end]) * drawn.choice((2, 3, 50))
            case 4 if start < len(text):
                text[start] ^= 1 << drawn.randrange(8)
            case 5:
                other = drawn.choice(self._samples)
                at = drawn.randrange(len(other))
                text[start:end] = other[at : at + drawn.choice((5, 50, 500))]
            case _:
                del text[start + drawn.randrange(50) :]


def feed_config(body: bytes, spoiler: Spoiler, folder: Path) -> bool:
    del spoiler
    path = folder / "chains.yaml"
    path.write_bytes(body)
    try:
        load_config(path, {"HOME": "/nowhere"})
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - what is checked is that this is the only class
        return False
    return True


def feed_skill(body: bytes, spoiler: Spoiler, folder: Path) -> bool:
    del spoiler
    (folder / "sample").mkdir(exist_ok=True)
    (folder / "sample" / "SKILL.md").write_bytes(body)
    catalog = SkillCatalog([folder])
    check_catalog(catalog)
    for skill in catalog.all():
        skill.system_prompt("the task")
    return not catalog.broken()


def feed_stream(body: bytes, spoiler: Spoiler, folder: Path) -> bool:
    """Read the bytes as a stream, cut somehow, and as a document, in both protocols."""
    del folder
    makers: tuple[Callable[[Peer], Dialect], ...] = (ChatChunks, MessageEvents)
    good = False
    for make, peer in zip(makers, PEERS, strict=True):
        ends = {read_stream(pieces, make(peer), peer) for pieces in ([body], spoiler.cut(body))}
        assert len(ends) == 1, "how the bytes are cut makes a difference"
        good |= ends == {""}
        try:
            dialect = make(peer)
            take_up(dialect.take_whole(parse_object(body.decode("utf-8", "replace"), peer)))
            good = True
        except ModelError:
            pass
    return good


def read_stream(pieces: Sequence[bytes], dialect: Dialect, peer: Peer) -> str:
    """Return the error that the stream ends in; "" for a whole answer."""
    decoder = EventDecoder()
    try:
        for piece in pieces:
            for event in decoder.feed(piece):
                take_up(take_event(event, dialect, peer))
        for event in decoder.flush():
            take_up(take_event(event, dialect, peer))
        finished(dialect, peer)
    except (ModelError, BrokenStreamError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def take_up(parts: Sequence[StreamPart]) -> None:
    """Do with parts what is done with an answer's."""
    splitter, calls = ThinkSplitter(), CallAssembly()
    for part in parts:
        if isinstance(part, TextDelta):
            splitter.feed(part.text)
        if isinstance(part, ToolCallDelta):
            calls.add(part)
    splitter.flush()
    calls.calls()


def feed_reply(body: bytes, spoiler: Spoiler, folder: Path) -> bool:
    del spoiler, folder
    try:
        reply = parse_reply(body.decode("utf-8", "replace"))
    except NoVerdictError:
        return False
    assert 0 <= reply.score <= 1
    return True


@dataclass(frozen=True)
class Target:
    """What is fed: valid samples, how many inputs a short and a long test make of them, and to whom."""

    name: str
    samples: Sequence[bytes]
    few: int
    many: int
    feed: Callable[[bytes, Spoiler, Path], bool]


TARGETS = (
    Target("chains.yaml", CONFIGS, 100, 10_000, feed_config),
    Target("SKILL.md", SKILLS, 100, 6_000, feed_skill),
    Target("streams", STREAMS, 400, 40_000, feed_stream),
    Target("judge replies", REPLIES, 1000, 60_000, feed_reply),
)


def feed_all(target: Target, number: int, folder: Path) -> str:
    """Feed so many inputs; return the figures. Anything but our own errors fails, with the input."""
    spoiler = Spoiler(target.samples)
    for sample in target.samples:
        target.feed(sample, spoiler, folder)
    good, slowest_s = 0, 0.0
    for body in spoiler.inputs(number):
        began = time.monotonic()
        try:
            good += target.feed(body, spoiler, folder)
        except Exception as error:
            raise AssertionError(f"{target.name}: {error!r} for {body!r}") from error
        slowest_s = max(slowest_s, time.monotonic() - began)
    assert slowest_s < ONE_LIMIT_S
    return f"spoiled {target.name}: {number} inputs, {good} of them valid, the slowest took {slowest_s:.2f} s"


Record = Callable[[str, Any], None]
EACH = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@EACH
def test_spoiled_inputs_are_refused_in_our_own_words(
    target: Target, tmp_path: Path, record_property: Record
) -> None:
    record_property(FIGURE, feed_all(target, target.few, tmp_path))


@pytest.mark.long
@pytest.mark.timeout(3600)
@EACH
def test_many_thousands_of_spoiled_inputs_are_refused_in_our_own_words(
    target: Target, tmp_path: Path, record_property: Record
) -> None:
    assert sum(one.many for one in TARGETS) >= 100_000
    record_property(FIGURE, feed_all(target, target.many, tmp_path))
