"""Redaction of requests: placeholders, what is redacted, and what of an answer is put back."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from typing import Literal

import pytest
from builders import CLOUD, cloud_model, local_model
from redacting import a_redactor, asking, redacted, restored, told
from redaction_corpus import GITHUB, RANDOM, RSA

from hyperguild.domain.chain import Model
from hyperguild.domain.messages import (
    Finish,
    Image,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    Sent,
    Source,
    SourcesNamed,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    Verbatim,
    VerbatimContent,
)
from hyperguild.domain.redaction import RedactionPolicy
from hyperguild.domain.secrets import Scrubber, placeholders
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.errors import BadRequestError, ProtocolError
from hyperguild.inference.redacting import RedactingClient
from hyperguild.inference.redaction import REMEMBERED, Redactor
from hyperguild.inference.restoring import Restorer
from hyperguild.inference.tool_calls import CallAssembly

PLACEHOLDER = re.compile(r"REDACTED_[A-Z0-9_]+_[0-9a-f]{12}")
ODD = 'p"w\\9\n'
"""A configured key that JSON has to escape."""


# --- placeholders


def test_a_secret_has_the_same_placeholder_in_every_request() -> None:
    redactor = a_redactor()
    first = redacted(f"a {GITHUB} b", redactor)
    second = redacted(f"c {RSA} and {GITHUB}", redactor)
    (name,) = first.originals
    assert name in second.originals
    assert len(second.originals) == 2
    assert name.startswith("REDACTED_GITHUB_")
    assert told(first) == f"a {name} b"


def test_another_process_draws_other_placeholders() -> None:
    other = Redactor(RedactionPolicy(), Scrubber(), bytes(32), time.monotonic)
    assert not set(redacted(GITHUB).originals) & set(redacted(GITHUB, other).originals)


def test_a_placeholder_is_none_of_the_logs() -> None:
    assert placeholders(told(redacted(f"x {GITHUB}"))) == ()
    assert Scrubber().scrub(told(redacted(f"API_KEY={RANDOM}"))) == told(redacted(f"API_KEY={RANDOM}"))


def test_a_text_that_imitates_a_placeholder_stays_and_stands_for_nothing() -> None:
    (name,) = redacted(GITHUB).originals
    result = redacted(f"{name} is not {GITHUB}")
    (other,) = result.originals
    assert other != name
    assert told(result) == f"{name} is not {other}"
    assert restored(result, told(result)) == f"{name} is not {GITHUB}"


def test_what_was_redacted_is_not_redacted_again() -> None:
    redactor = a_redactor(("digits", "[0-9]+"), learned="made-up-key-0123456789")
    once = told(
        redacted(f"PASSWORD=hunter2 Bearer {GITHUB} postgres://u:hunter3@db made-up-key-0123456789", redactor)
    )
    assert told(redacted(once, redactor)) == once


def test_a_secret_that_was_told_once_is_known_everywhere() -> None:
    redactor = a_redactor()
    result = redactor.redact(asking("it is hunter2, really", "DB_PASSWORD=hunter2"))
    assert "hunter2" not in result.request.messages[0].text
    assert "hunter2" not in told(redacted("the answer was hunter2.", redactor))
    assert told(redacted("hunter22 is not it", redactor)) == "hunter22 is not it"
    assert told(redacted("hunter2")) == "hunter2"  # nobody told this one


def test_what_is_remembered_is_bounded() -> None:
    redactor = a_redactor()
    for number in range(REMEMBERED + 5):
        redacted(f"DB_PASSWORD=hunter-a{number}", redactor)
    assert told(redacted("hunter-a0", redactor)) == "hunter-a0"
    assert told(redacted(f"hunter-a{REMEMBERED}", redactor)) != f"hunter-a{REMEMBERED}"


# --- what is redacted


@pytest.mark.parametrize(
    ("model", "redact", "applies"),
    [
        (local_model(), "auto", False),
        (local_model(), "always", True),
        (local_model(), "never", False),
        (cloud_model(), "auto", True),
        (cloud_model(), "never", False),
        (replace(cloud_model(), label="managed"), "auto", True),
        (replace(cloud_model(), label="local"), "auto", False),
    ],
)
def test_a_tier_is_redacted_as_its_endpoint_says(
    model: Model, redact: Literal["auto", "always", "never"], applies: bool
) -> None:
    model = replace(model, endpoint=replace(model.endpoint, redact=redact))
    assert RedactionPolicy().applies_to(model) is applies
    assert RedactionPolicy(secrets=False).applies_to(model) is False


def test_every_text_of_a_request_is_redacted_and_nothing_else() -> None:
    key = "made-up-key-0123456789"
    call = ToolCall("1", "post", {"to": [key], "n": 1}, f'{{"to":["{key}"],"n":1}}')
    broken = ToolCall("2", "post", None, f'{{"to": "{key}', "no JSON")
    image = Image("image/png", "aGVsbG8=")
    kept = Verbatim("claude", ({"type": "thinking", "thinking": key, "signature": key},))
    spec = ToolSpec("post", f"Posts to {key}.", {"properties": {"to": {"default": key}}}, "read")
    request = ModelRequest(
        cloud_model(),
        (
            Message("system", f"system {key}"),
            Message("user", f"user {key}", (image,)),
            Message("assistant", key, tool_calls=(call, broken), verbatim=kept),
            Message.of_result(ToolResult("1", "post", f"result {key}")),
        ),
        response_schema={"enum": [key]},
        tools=(spec,),
    )
    result = a_redactor(learned=key).redact(request)
    (name,) = result.originals
    system, user, assistant, answer = result.request.messages
    assert (system.text, user.text, user.images) == (f"system {name}", f"user {name}", (image,))
    assert assistant.verbatim == kept
    assert assistant.tool_calls[0].arguments == {"to": [name], "n": 1}
    assert assistant.tool_calls[0].raw == f'{{"to":["{name}"],"n":1}}'
    assert assistant.tool_calls[1].raw == f'{{"to": "{name}'
    assert answer.result is not None
    assert (answer.text, answer.result.text) == (f"result {name}",) * 2
    assert result.request.response_schema == {"enum": [name]}
    assert result.request.tools[0].description == f"Posts to {name}."
    assert result.request.tools[0].parameters == {"properties": {"to": {"default": name}}}
    assert a_redactor().redact(asking("nothing")).request == asking("nothing")


def test_what_another_model_said_verbatim_is_redacted() -> None:
    """It is told in words; the model's own goes back as it came."""
    content = ({"type": "server_tool_use", "name": "web_search", "input": {"query": f"is {GITHUB} mine"}},)
    theirs, own = Verbatim("another", content), Verbatim(cloud_model().name, content)
    request = replace(
        asking(f"my {GITHUB}"),
        messages=(Message("assistant", "", verbatim=theirs), Message("assistant", GITHUB, verbatim=own)),
    )
    result = a_redactor().redact(request)
    (name,) = result.originals
    told_of, kept = result.request.messages
    assert told_of.verbatim is not None
    assert told_of.verbatim.content[0]["input"] == {"query": f"is {name} mine"}
    assert kept.verbatim == own


def test_many_secrets_are_found_where_nothing_gives_them_away_in_linear_time() -> None:
    """Quadratic, this takes minutes; the bound only guards against that."""
    many = [f"s{number:05}ecret{number % 7}x" for number in range(10_000)]
    text = "\n".join(f'password="{one}"' for one in many) + "\n" + " ".join(many)
    began = time.perf_counter()
    result = redacted(text)
    assert not any(one in told(result) for one in many[::100])
    assert Restorer(result.originals).whole(told(result)) == text
    assert time.perf_counter() - began < 60


def test_a_few_characters_cannot_become_an_answer_without_end() -> None:
    restorer = Restorer({"REDACTED_A_0123456789ab": "x" * 1_000_000})
    with pytest.raises(ProtocolError, match="longer than"):
        restorer.feed("REDACTED_A_0123456789ab " * 5)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_underscores_that_were_escaped_are_no_obstacle(size: int) -> None:
    restorer = Restorer({"REDACTED_A_0123456789ab": "s3cret"})
    text = r"a REDACTED\_A\_0123456789ab, REDACTED\\_A\\_0123456789ab; R\_ REDACTED\_B"
    pieces = [restorer.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join([*pieces, restorer.flush()]) == r"a s3cret, s3cret; R\_ REDACTED\_B"


def test_names_beside_values_count_in_the_arguments_of_calls() -> None:
    raw = '{ "password" : "hunter2", "pin_password": "12345678", "port": 80 }'
    call = ToolCall("1", "connect", json.loads(raw), raw)
    result = a_redactor().redact(ModelRequest(cloud_model(), (Message("assistant", "", tool_calls=(call,)),)))
    sent = result.request.messages[0].tool_calls[0]
    assert sent.arguments == json.loads(sent.raw)
    assert set(result.originals.values()) == {"hunter2", "12345678"}
    assert restored(result, sent.raw) == raw


def test_patterns_of_the_user_are_taken_out() -> None:
    redactor = a_redactor(("ticket", r"\bTKT-[0-9]+\b"), ("host", r"host=(?<secret>[\w.]+)"), secrets=False)
    result = redacted(f"TKT-12 on host=db1.internal, {GITHUB}", redactor)
    assert sorted(result.originals.values()) == ["TKT-12", "db1.internal"]
    assert re.fullmatch(
        rf"REDACTED_TICKET_\w{{12}} on host=REDACTED_HOST_\w{{12}} {GITHUB}", told(result).replace(",", "")
    )


def test_a_pattern_that_takes_too_long_stops_the_request() -> None:
    times = itertools.count(step=10)
    redactor = a_redactor(("slow", "(a|aa)+$"), now_s=lambda: float(next(times)))
    with pytest.raises(BadRequestError, match="redaction pattern slow took more than 1 s; nothing was sent"):
        redacted("a" * 5000 + "b", redactor)


# --- what comes back


class Scripted:
    """A `ModelClient` that answers with given parts, in which `NAME` stands for the one placeholder."""

    def __init__(self, parts: Iterable[StreamPart]) -> None:
        self.parts = parts
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        self.requests.append(request)
        for part in self.parts:
            yield part

    async def aclose(self) -> None:
        return None


async def answered(
    redactor: Redactor, request: ModelRequest, parts: Iterable[StreamPart]
) -> tuple[list[StreamPart], Scripted]:
    inner = Scripted(parts)
    return [part async for part in RedactingClient(inner, redactor).stream(request)], inner


def texts(parts: Iterable[StreamPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_placeholder_is_put_back_wherever_it_is_split(size: int) -> None:
    redactor, request = a_redactor(), asking(f"x {GITHUB}")
    (name,) = redactor.redact(request).originals
    said = f"Use {name}, RED {name}{name} REDACTED_ {name[:-1]}! {name[:9]}"
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    parts, _ = await answered(
        redactor,
        request,
        [
            Sent(),
            *(part for piece in pieces for part in (TextDelta(piece), ReasoningDelta(piece))),
            Finish("stop"),
        ],
    )
    assert texts(parts) == said.replace(name, GITHUB)
    assert "".join(one.text for one in parts if isinstance(one, ReasoningDelta)) == texts(parts)
    assert parts[-1] == Finish("stop")


async def test_nothing_else_is_held_back() -> None:
    redactor, request = a_redactor(), asking(f"x {GITHUB}")
    (name,) = redactor.redact(request).originals
    parts, _ = await answered(
        redactor,
        request,
        [
            Sent(),
            TextDelta("Tell R"),
            TextDelta("ED: "),
            TextDelta(name[:12]),
            TextDelta(name[12:]),
            Finish("stop"),
        ],
    )
    assert parts == [
        Sent(),
        TextDelta("Tell "),
        TextDelta("RED: "),
        KeepAlive(),
        TextDelta(GITHUB),
        Finish("stop"),
    ]


async def test_a_stream_without_an_end_gives_out_what_was_held() -> None:
    parts, _ = await answered(a_redactor(), asking(GITHUB), [Sent(), TextDelta("x REDACT")])
    assert texts(parts) == "x REDACT"


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_calls_get_the_secret_as_json_has_it(size: int) -> None:
    redactor, request = a_redactor(learned=ODD + "-rest"), asking(f"use {ODD}-rest")
    (name,) = redactor.redact(request).originals
    first, second = f'{{"a": "<{name}>"}}', f'{{"b": ["{name}", 1]}}'
    deltas = [
        ToolCallDelta(index, arguments=raw[at : at + size])
        for index, raw in ((0, first), (1, second))
        for at in range(0, len(raw), size)
    ]
    named = [ToolCallDelta(0, "c0", "post"), ToolCallDelta(1, "c1", "post")]
    parts, _ = await answered(redactor, request, [Sent(), *named, *deltas, Finish("tool_calls")])
    assembly = CallAssembly()
    for part in parts:
        if isinstance(part, ToolCallDelta):
            assembly.add(part)
    calls = assembly.calls()
    assert [call.arguments for call in calls] == [{"a": f"<{ODD}-rest>"}, {"b": [f"{ODD}-rest", 1]}]

    again = redactor.redact(replace(request, messages=(Message("assistant", "", tool_calls=calls),)))
    assert [call.raw for call in again.request.messages[0].tool_calls] == [first, second]


async def test_calls_that_share_an_index_are_told_apart() -> None:
    redactor, request = a_redactor(), asking(GITHUB)
    deltas = [ToolCallDelta(0, "a", "x", '{"a": "R'), ToolCallDelta(0, "b", "x", "{}")]
    parts, _ = await answered(redactor, request, [Sent(), *deltas, Finish("tool_calls")])
    assembly = CallAssembly()
    for part in parts:
        if isinstance(part, ToolCallDelta):
            assembly.add(part)
    assert [call.raw for call in assembly.calls()] == ['{"a": "R', "{}"]


async def test_an_answer_bound_to_a_schema_stays_json() -> None:
    redactor = a_redactor(learned=ODD + "-rest")
    request = replace(asking(f"use {ODD}-rest"), response_schema={"type": "object"})
    (name,) = redactor.redact(request).originals
    parts, _ = await answered(redactor, request, [Sent(), TextDelta(f'{{"key": "{name}"}}'), Finish("stop")])
    assert json.loads(texts(parts)) == {"key": ODD + "-rest"}


async def test_what_the_provider_signed_goes_back_as_it_came() -> None:
    redactor, request = a_redactor(), asking(f"x {GITHUB}")
    (name,) = redactor.redact(request).originals
    content = (
        {"type": "thinking", "thinking": f"so {name}", "signature": "c2lnbmVk"},
        {"type": "text", "text": name},
    )
    page = SourcesNamed((Source(f"https://x.example/{name}", name),))
    parts, _ = await answered(
        redactor, request, [Sent(), TextDelta(name), page, VerbatimContent(content), Finish("stop")]
    )
    assert VerbatimContent(content) in parts
    assert SourcesNamed((Source(f"https://x.example/{GITHUB}", GITHUB),)) in parts
    turn = Message("assistant", texts(parts), verbatim=Verbatim("claude", content))
    follow_up = replace(request, messages=(*request.messages, turn, Message("user", "go on")))
    _, inner = await answered(redactor, follow_up, [])
    sent = inner.requests[0].messages
    assert sent[1] == replace(turn, text=name)  # the verbatim part is the same, and the text what was said


async def test_a_local_tier_and_a_request_without_secrets_pass_as_they_are() -> None:
    request = replace(asking(GITHUB), model=local_model())
    parts, inner = await answered(a_redactor(), request, [Sent(), TextDelta("REDACTED_"), Finish("stop")])
    assert inner.requests[0] is request
    assert parts == [Sent(), TextDelta("REDACTED_"), Finish("stop")]
    plain = asking("nothing here")
    parts, inner = await answered(a_redactor(), plain, [Sent(), TextDelta("REDACTED_"), Finish("stop")])
    assert inner.requests[0] is plain
    assert parts == [Sent(), TextDelta("REDACTED_"), Finish("stop")]


async def test_a_log_line_counts_and_names_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="hyperguild.redaction"):
        await answered(a_redactor(), asking(f"{GITHUB} {RANDOM} DB_PASSWORD={RANDOM}"), [])
    assert caplog.messages == [f"redaction.replaced endpoint={CLOUD.name} model=claude secrets=2"]
    assert not any(secret in caplog.text for secret in (GITHUB, RANDOM))
