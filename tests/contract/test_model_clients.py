"""One suite over every `ModelClient`: the simulated fleet as a process of its own, and a real program."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hyperguild.adapters.models import open_client
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import aiohttp_transport, plain_transport
from hyperguild.domain.chain import Endpoint, KeySource, Model
from hyperguild.domain.messages import (
    Finish,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    Sent,
    StreamPart,
    TextDelta,
    UsageReport,
)
from hyperguild.errors import (
    AuthError,
    CommandError,
    ConnectError,
    ContextOverflowError,
    ModelError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from hyperguild.ports import ModelClient
from hyperguild.simulation.process import FleetProcess

ANSWER = "One, two; three: Grüße 🎈."


def rule(word: str, **said: Any) -> dict[str, Any]:
    return {"when": {"contains": f"case {word}."}, **said}


FAULTS: dict[str, tuple[type[ModelError], ...]] = {
    "crash_before": (ServerError, ConnectError),  # a proxy answers for a crashed model, nobody for itself
    "crash_during": (ProtocolError,),
    "reset": (ProtocolError, ConnectError),
    "no_finish": (ProtocolError,),
    "no_done": (ProtocolError,),
    "truncated_json": (ProtocolError,),
    "invalid_utf8": (ProtocolError,),
    "html": (ProtocolError,),
    "wrong_content_type": (ProtocolError,),
    "empty_200": (ProtocolError,),
    "empty_502": (ServerError,),
}

MODEL: dict[str, Any] = {
    "context": 2000,
    "answers": [
        rule("plain", text=ANSWER),
        rule("reasons", text=ANSWER, reasoning="Let me see."),
        rule("cut", text=ANSWER, finish_reason="length"),
        rule("hangs", text=ANSWER, fault="hang"),
        rule("stalls", text=ANSWER, fault="stall_after_first"),
        rule("busy", error={"status": 429, "message": "slow down", "headers": {"retry-after": "3"}}),
        rule("overloaded", error={"status": 529, "message": "later"}),
        rule("breaks", text="half of it", error={"status": 500, "message": "gave up", "in_stream": True}),
        *(rule(fault, text=ANSWER, fault=fault) for fault in [*FAULTS, "huge_line"]),
    ],
}
SCRIPT: dict[str, Any] = {
    "models": {"phi4": {**MODEL, "send_loading_state": True}},
    "openai": {"models": {"gpt": MODEL}},
    "anthropic": {"models": {"claude": MODEL}},
    "api_keys": {"openai": ["sk-right-key"], "anthropic": ["sk-right-key"]},
}

PROGRAM = """
import json, sys, time
asked = sys.stdin.read()
answer = {answer!r}
if "case hangs." in asked or "case stalls." in asked:
    if "stalls" in asked:
        print(answer, flush=True)
    time.sleep(600)
if "case breaks." in asked:
    print("half of it", flush=True)
    sys.exit("gave up")
stop = "max_tokens" if "case cut." in asked else "end_turn"
usage = {{"input_tokens": 9, "output_tokens": 5}}
sys.stdout.buffer.write(json.dumps({{"result": answer, "stop_reason": stop, "usage": usage}}).encode())
"""


@dataclass(frozen=True)
class Subject:
    """A client under test, and a model of its endpoint."""

    client: ModelClient
    model: Model
    fleet: FleetProcess | None

    def ask(self, case: str, **fields: Any) -> ModelRequest:
        messages = (Message("system", "Answer."), Message("user", f"This is case {case}."))
        return ModelRequest(**{"model": self.model, "messages": messages, **fields})

    async def parts(self, case: str, **fields: Any) -> list[StreamPart]:
        return [part async for part in self.client.stream(self.ask(case, **fields))]

    async def error(self, case: str, **fields: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.parts(case, **fields)
        assert caught.value.model == self.model.name
        assert caught.value.endpoint == self.model.endpoint.name
        assert "sk-right-key" not in caught.value.message
        return caught.value


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as running:
        yield running


def endpoint_of(kind: str, fleet: FleetProcess, program: Path) -> tuple[Endpoint, str]:
    key = KeySource(env="SIM_KEY")
    if kind == "llama-swap":
        return Endpoint("swap", "llama-swap", fleet.url), "phi4"
    if kind == "openai":
        return Endpoint("openai", "openai", f"{fleet.url}/openai/v1", key=key), "gpt"
    if kind == "anthropic":
        return Endpoint("anthropic", "anthropic", f"{fleet.url}/anthropic", key=key), "claude"
    program.write_text(PROGRAM.format(answer=ANSWER))
    return Endpoint("program", "command", argv=(sys.executable, str(program))), "any"


HTTP = [f"{kind}/{way}" for kind in ("llama-swap", "openai", "anthropic") for way in ("plain", "aiohttp")]


@pytest_asyncio.fixture(params=[*HTTP, "command/-"])
async def subject(
    request: pytest.FixtureRequest, fleet: FleetProcess, tmp_path: Path
) -> AsyncIterator[Subject]:
    kind, _, way = request.param.partition("/")
    endpoint, upstream = endpoint_of(kind, fleet, tmp_path / "program.py")
    keys = KeyRing({"SIM_KEY": "sk-right-key"})
    transport = aiohttp_transport if way == "aiohttp" else plain_transport
    client = open_client(endpoint, keys=keys, transport_factory=transport)
    model = Model("the-model", endpoint, upstream=upstream, label="managed")
    async with asyncio.timeout(60):
        yield Subject(client, model, None if kind == "command" else fleet)
        await client.aclose()
        await client.aclose()


SERVERS = pytest.mark.parametrize("subject", HTTP, indirect=True)


def text_of(parts: list[StreamPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def test_the_whole_answer_comes_with_usage_and_finish_last(subject: Subject) -> None:
    parts = await subject.parts("plain")

    assert text_of(parts) == ANSWER
    assert parts[0] == Sent()
    assert parts[-1] == Finish("stop")
    assert [sum(isinstance(part, once) for part in parts) for once in (Sent, Finish)] == [1, 1]
    usage = [part.usage for part in parts if isinstance(part, UsageReport)][-1]
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_an_answer_that_was_cut_off_says_so(subject: Subject) -> None:
    assert (await subject.parts("cut"))[-1] == Finish("length")


async def test_many_at_once(subject: Subject) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(subject.parts("plain")) for _ in range(12)]

    assert [text_of(task.result()) for task in tasks] == [ANSWER] * 12


async def test_nothing_is_sent_before_the_stream_is_read_on(subject: Subject) -> None:
    seen = 0 if subject.fleet is None else len(await asyncio.to_thread(subject.fleet.requests))

    async with aclosing(subject.client.stream(subject.ask("plain"))) as parts:
        assert await anext(parts) == Sent()

    if subject.fleet is not None:
        assert len(await asyncio.to_thread(subject.fleet.requests)) == seen


@pytest.mark.parametrize("left", ["at-once", "in-mid-answer", "at-the-end"])
async def test_a_stream_that_waits_for_its_turn_is_sent_when_the_one_before_is_closed(
    subject: Subject, left: str
) -> None:
    endpoint = replace(subject.model.endpoint, max_concurrency=1)
    client = open_client(endpoint, keys=KeyRing({"SIM_KEY": "sk-right-key"}))
    case = "stalls" if left == "in-mid-answer" else "plain"

    first, second = client.stream(subject.ask(case)), client.stream(subject.ask("plain"))
    async with aclosing(first), aclosing(second):
        assert await anext(first) == Sent()
        waiting = asyncio.create_task(anext(second))
        if left == "in-mid-answer":
            assert isinstance(await anext(first), TextDelta | UsageReport | KeepAlive)
        elif left == "at-the-end":
            assert [part async for part in first][-1] == Finish("stop")
        await asyncio.sleep(0.1)
        assert waiting.done() is (left == "at-the-end")
        await first.aclose()
        assert await waiting == Sent()
        assert text_of([part async for part in second]) == ANSWER
    await client.aclose()


async def test_a_stream_that_is_cancelled_in_the_queue_takes_no_turn(subject: Subject) -> None:
    endpoint = replace(subject.model.endpoint, max_concurrency=1)
    client = open_client(endpoint, keys=KeyRing({"SIM_KEY": "sk-right-key"}))

    async with aclosing(client.stream(subject.ask("plain"))) as first:
        assert await anext(first) == Sent()
        waiting = asyncio.create_task(anext(client.stream(subject.ask("plain"))))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert text_of([part async for part in client.stream(subject.ask("plain"))]) == ANSWER
    await client.aclose()


async def test_an_error_after_the_first_words(subject: Subject) -> None:
    error = await subject.error("breaks")

    assert isinstance(error, ServerError | CommandError)
    assert "gave up" in error.message


@pytest.mark.parametrize("case", ["hangs", "stalls"])
async def test_a4_cancelling_leaves_nothing_behind(subject: Subject, case: str) -> None:
    task = asyncio.create_task(subject.parts(case))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    if subject.fleet is not None:
        while (await asyncio.to_thread(subject.fleet.state))["open"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert text_of(await subject.parts("plain")) == ANSWER


async def test_closing_a_stream_early_leaves_the_client_usable(subject: Subject) -> None:
    async with aclosing(subject.client.stream(subject.ask("stalls"))) as parts:
        async for part in parts:
            if isinstance(part, TextDelta | UsageReport):
                break

    assert text_of(await subject.parts("plain")) == ANSWER


async def test_a_stream_that_is_never_read_costs_nothing(subject: Subject) -> None:
    await subject.client.stream(subject.ask("plain")).aclose()


@SERVERS
async def test_b4_reasoning_is_no_answer(subject: Subject) -> None:
    parts = await subject.parts("reasons")

    assert text_of(parts) == ANSWER
    assert "".join(part.text for part in parts if isinstance(part, ReasoningDelta)) == "Let me see."


@SERVERS
@pytest.mark.parametrize(("fault", "expected"), FAULTS.items())
async def test_a_fault_is_an_error_and_no_answer(
    subject: Subject, fault: str, expected: tuple[type[ModelError], ...]
) -> None:
    assert isinstance(await subject.error(fault), expected)


@SERVERS
async def test_a_very_long_event_is_an_answer_like_any_other(subject: Subject) -> None:
    parts = await subject.parts("huge_line")

    assert len(text_of(parts)) > 1_000_000
    assert parts[-1] == Finish("stop")


@SERVERS
async def test_a_server_that_is_busy(subject: Subject) -> None:
    error = await subject.error("busy")

    assert type(error) is RateLimitError
    assert error.status == 429
    assert error.retry_after_s == 3.0
    assert type(await subject.error("overloaded")) is OverloadedError


@SERVERS
async def test_a_prompt_that_is_too_long(subject: Subject) -> None:
    messages = (Message("user", "word " * 3000),)

    assert type(await subject.error("x", messages=messages)) is ContextOverflowError


@SERVERS
async def test_an_unknown_model(subject: Subject) -> None:
    model = Model("the-model", subject.model.endpoint, upstream="nobody", label="managed")

    error = await subject.error("plain", model=model)

    assert type(error) is NotFoundError
    assert "'nobody'" in error.message


@pytest.mark.parametrize("env", [{}, {"SIM_KEY": "sk-wrong-key"}])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_keys_that_are_missing_or_wrong(
    fleet: FleetProcess, tmp_path: Path, kind: str, env: dict[str, str]
) -> None:
    endpoint, upstream = endpoint_of(kind, fleet, tmp_path)
    client = open_client(endpoint, keys=KeyRing(env))
    subject = Subject(client, Model("the-model", endpoint, upstream=upstream, label="managed"), fleet)
    seen = len(await asyncio.to_thread(fleet.requests))

    error = await subject.error("plain")

    assert type(error) is AuthError
    assert error.status == (401 if env else None)
    assert len(await asyncio.to_thread(fleet.requests)) == seen + len(env)
    await client.aclose()


async def test_b2_a_cold_model_keeps_the_line_alive_while_it_loads() -> None:
    script = {"models": {"slow": {"load_s": 0.5, "send_loading_state": True, "answers": [{"text": ANSWER}]}}}
    with FleetProcess(script) as cold:
        endpoint = Endpoint("swap", "llama-swap", cold.url)
        client = open_client(endpoint, keys=KeyRing({}))
        subject = Subject(client, Model("the-model", endpoint, upstream="slow", label="local"), cold)

        parts = await subject.parts("plain")
        await client.aclose()

    assert parts[:2] == [Sent(), KeepAlive()]
    assert not any(isinstance(part, ReasoningDelta) for part in parts)
    assert text_of(parts) == ANSWER
