"""The agent loop under random streams, tools, bounds and interruptions: what holds whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.looping import PROMPT, FunctionTool, tool
from agent.scripted import Part, Pause, Scripted, Turn, in_jumping_time, replayed, scripted, summary
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperguild.agent.routing import SELECT
from hyperguild.agent.terms import LoopEnd
from hyperguild.agent.transcript import faults
from hyperguild.agent.watch import CallBegan, CallEnded, KeptStep
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.message_records import as_record
from hyperguild.domain.messages import (
    Finish,
    FinishReason,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    VerbatimContent,
)
from hyperguild.domain.tools import ToolError
from hyperguild.domain.usage import Price, Usage
from hyperguild.errors import (
    BadRequestError,
    ConnectError,
    ContextOverflowError,
    ModelError,
    RateLimitError,
    ServerError,
)

MARK = re.compile(r"«\d+»")
"""Stands in a text of the model once: what holds it twice has joined something twice."""

KEEPING_S = 0.01

REASONS: list[FinishReason] = [
    *("stop", "stop", "stop", "length", "length", "tool_calls", "content_filter", "refusal", "other")
]


async def look(path: str = "") -> str:
    return f"saw {path}"


async def note(path: str = "") -> str:
    await asyncio.sleep(1)
    return f"noted {path}"


async def refuse(path: str = "") -> str:
    raise ToolError(f"cannot {path}")


async def explode(path: str = "") -> str:
    raise RuntimeError("boom")


async def dawdle(path: str = "") -> str:
    await asyncio.sleep(1000)
    return "never"


async def flood(path: str = "") -> str:
    return " ".join(f"{path}{n * 7919 % 10007}" for n in range(400))


async def abandoned(path: str = "") -> str:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    gone.cancel()
    return await gone


async def submit(path: str = "") -> str:
    if not path:
        raise ToolError("submit what?")
    return f"submitted {path}"


async def alone(path: str = "") -> str:
    return f"alone with {path}"


TOOLS = (
    tool(look),
    tool(note, "write"),
    tool(refuse, "write"),
    tool(explode),
    tool(dawdle),
    tool(flood),
    tool(abandoned),
    tool(submit, "write", stop_after=True),
    tool(alone, "exec", exclusive=True),
)

names = st.sampled_from([*(one.spec.name for one in TOOLS), SELECT, "", "lok", "functions.look", "\ud800"])
arguments = st.sampled_from(
    [
        *("{}", "", '{"path": "a"}', '{"path": "b"}', '{"path": ""}', '{"path": 1}', '{"file": "a"}'),
        *('{"path": "', "[1]", "null", "NaN", '{"path": NaN}', '{"path": "\\ud800"}', '{"path": "\ud800"}'),
        *('{"category": "read"}', '{"category": "write"}', '{"category": "none"}', '{"category": [1]}'),
        '{"path": "' + "and then I read the file again " * 40 + '"}',
    ]
)
texts = st.one_of(
    st.integers(0, 10**6).map("«{}»".format),
    st.sampled_from(
        [
            *("", " ", "\n", "Hello! How can I help you today?", "a\ud800b", "<think>hm</think>", "<think>"),
            "I will now read the file. " * 30,
            " ".join(str(n * 7919 % 10007) for n in range(300)),
        ]
    ),
)
usages = st.builds(
    lambda read, written: UsageReport(Usage(input_tokens=read, output_tokens=written)),
    st.integers(0, 2000),
    st.integers(0, 300),
)
calls = st.builds(
    ToolCallDelta,
    st.integers(0, 2),
    st.sampled_from(["", "", "a", "b", "a"]),
    names,
    arguments,
)
parts: st.SearchStrategy[Part] = st.one_of(
    texts.map(TextDelta),
    calls,
    usages,
    st.one_of(
        texts.map(ReasoningDelta),
        st.just(VerbatimContent(({"type": "thinking", "signature": "s"},))),
        st.just(KeepAlive()),
        st.sampled_from([0.5, 5.0, 100.0]).map(Pause),
    ),
)
ends: st.SearchStrategy[list[Part]] = st.one_of(
    st.sampled_from(REASONS).map(lambda reason: [Finish(reason)]),
    st.sampled_from(
        [
            ServerError("crashed"),
            ConnectError("refused"),
            RateLimitError("slow down", retry_after_s=2.0),
            BadRequestError("no"),
            ContextOverflowError("too long"),
            ContextOverflowError("too long"),
        ]
    ).map(lambda error: [error]),
    st.just([]),
)
turns = st.builds(lambda body, end: (*body, *end), st.lists(parts, max_size=5), ends)
working_turns = st.builds(
    lambda called, used: (*called, used, Finish("tool_calls")),
    st.lists(calls, min_size=1, max_size=3),
    usages,
)
scripts = st.lists(st.one_of(working_turns, turns), min_size=1, max_size=10)
summaries = st.lists(
    st.one_of(st.just(summary("So far: much.")), st.just(summary("Even more was done.")), turns), max_size=3
)
policies = st.builds(
    AgentPolicy,
    max_steps=st.integers(1, 8),
    two_stage=st.sampled_from(["never", "always"]),
    compact_at=st.sampled_from([0.1, 0.7, 1.0]),
)
models = st.fixed_dictionaries(
    {
        "context_window": st.sampled_from([None, 200, 1000, 20_000]),
        "label": st.sampled_from(["local", "managed"]),
        "declares_tools": st.sampled_from([True, True, True, False]),
        "price": st.just(Price(input=1.0, output=2.0)),
    }
)
budgets = st.fixed_dictionaries(
    {
        "time_left_s": st.sampled_from([None, None, 8.0, 120.0]),
        "cost_left_usd": st.sampled_from([None, None, 0.001, 0.01]),
    }
)
moments = st.one_of(
    st.just(()),
    st.floats(0.0, 20.0).map(lambda at: (at,)),
    st.sampled_from([(0.0,), (0.005,), (1.0,), (5.0, 0.005), (1.0, 0.0)]),
)


@dataclass
class Case:
    """One loop, what it is driven by, and when it is cancelled: seconds, each after the one before."""

    bench: Scripted
    time_left_s: float | None
    max_steps: int
    moments: Sequence[float]
    end: LoopEnd | ModelError | None = None
    seconds: float = 0.0

    async def run(self) -> None:
        running = asyncio.create_task(self.bench.run())
        clock = asyncio.get_running_loop()
        for moment in self.moments:
            await asyncio.wait({running}, timeout=moment)
            running.cancel()
        try:
            self.end = await running
        except ModelError as error:
            self.end = error
        except asyncio.CancelledError:
            assert self.moments
        self.seconds = clock.time()


def shrunk(message: Message) -> str:
    return f"[prior result: {len(message.text)} chars]"


def assert_same(sent: Sequence[Message], kept: Sequence[Message]) -> None:
    """What is sent is what is kept, but for old results that have shrunk."""
    assert len(sent) == len(kept)
    for one, other in zip(sent, kept, strict=True):
        if one != other:
            assert one.result is not None
            assert other.result is not None
            assert one.text == one.result.text == shrunk(other)
            assert one.result.call_id == other.result.call_id
            assert one.result.is_error == other.result.is_error


def assert_sendable(messages: Sequence[Message]) -> None:
    """A1, and what the two APIs and the chat templates ask for besides."""
    assert faults(messages) == []
    for one, following in itertools.pairwise(messages):
        assert (one.role, following.role) not in {("user", "user"), ("assistant", "assistant")}
    for message in messages:
        if message.role == "assistant":
            assert message.tool_calls or message.text.strip() or message.verbatim is not None
        if message.verbatim is not None:
            assert len(message.tool_calls) == 0 or all(call.id in {"a", "b"} for call in message.tool_calls)
        for call in message.tool_calls:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", call.name)
            call.raw.encode()
        json.dumps(as_record(message), ensure_ascii=False, allow_nan=False).encode()


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "turns": marked(draw(scripts)),
        "summaries": draw(summaries),
        "policy": draw(policies),
        "budget": draw(budgets),
        "model": draw(models),
        "moments": draw(moments),
        "keeping_s": draw(st.sampled_from([0.0, KEEPING_S])),
    }


def driven(drawn: dict[str, Any], tools: Sequence[FunctionTool] = TOOLS) -> Case:
    """Run the case; the requests are looked at as they are made."""

    async def work() -> Case:
        async def keeping(step: KeptStep) -> None:
            assert_texts_once(bench.loop.text)
            await asyncio.sleep(drawn["keeping_s"])

        bench = scripted(
            drawn["turns"],
            tools,
            summaries=drawn["summaries"],
            policy=drawn["policy"],
            keeping=keeping,
            budget=drawn["budget"],
            **drawn["model"],
        )

        def inspect(request: ModelRequest) -> None:
            assert_sendable(request.messages)
            assert_same(request.messages, bench.transcript() or PROMPT)
            assert (drawn["budget"]["time_left_s"] or 1e9) > asyncio.get_running_loop().time()

        bench.model.inspect = inspect
        case = Case(bench, drawn["budget"]["time_left_s"], drawn["policy"].max_steps, drawn["moments"])
        await case.run()
        return case

    return in_jumping_time(work)


def assert_texts_once(text: str) -> None:
    twice = [mark for mark, times in Counter(MARK.findall(text)).items() if times > 1]
    assert not twice


def marked(script: Sequence[Turn]) -> list[Turn]:
    """Return the script, each of its marks standing in one place only; a turn is used once."""
    count = 0
    numbered: list[Turn] = []
    for turn in script:
        own: list[Part] = []
        for part in turn:
            if isinstance(part, TextDelta) and MARK.fullmatch(part.text):
                count += 1
                own.append(TextDelta(f"«{count}»"))
            else:
                own.append(part)
        numbered.append(tuple(own))
    return [*numbered, (TextDelta("That is all."), Finish("stop"))]


@settings(max_examples=150)
@given(cases())
def test_a1_a2_a3_whatever_happens_the_invariants_hold(drawn: dict[str, Any]) -> None:
    case = driven(drawn)
    bench, end = case.bench, case.end
    # A1, H2: what is kept is whole, and is the transcript of the last request and what came of it
    assert faults(bench.transcript()) == []
    assert [step.position for step in bench.kept] == sorted({step.position for step in bench.kept})
    requests = bench.model.requests
    if requests and bench.kept and bench.kept[-1].kind == "step":
        assert_same(requests[-1].messages, bench.transcript()[: len(requests[-1].messages)])
    if requests:
        assert bench.kept
    # A2
    assert bench.calls_made <= case.max_steps
    # A3
    total = Usage()
    for reported in bench.model.reported:
        total = total + reported
    assert bench.loop.usage == total
    if all(step.usage == Usage() for step in bench.kept if step.kind == "summary"):
        kept = sum(step.usage.output_tokens for step in bench.kept)
        assert kept <= total.output_tokens
    # the answer
    assert_texts_once(bench.loop.text)
    if isinstance(end, LoopEnd):
        assert end.text == bench.loop.text
        assert_texts_once(end.text)
        assert bool(end.cause) == bool(end.feedback)
    # each result belongs to a call that began, and none has two
    ended = [event.result.call_id for event in bench.seen(CallEnded)]
    assert len(ended) == len(set(ended))
    assert set(ended) <= {event.call.id for event in bench.seen(CallBegan)}
    # time
    if case.time_left_s is not None:
        assert case.seconds <= case.time_left_s + (len(bench.kept) + 1) * KEEPING_S


@settings(max_examples=60)
@given(cases())
def test_h1_h2_steps_before_an_interruption_are_those_of_a_run_without_it(drawn: dict[str, Any]) -> None:
    """H1, H2: an interruption changes the step under way alone, and loses none before it."""
    whole = driven({**drawn, "moments": ()}).bench.kept
    broken = driven(drawn).bench.kept
    assert len(broken) <= len(whole) + 1
    for one, other in zip(broken[:-1], whole, strict=False):
        assert (one.position, one.kind) == (other.position, other.kind)
        assert [(m.role, m.text) for m in one.messages] == [(m.role, m.text) for m in other.messages]
    if broken:
        assert faults(replayed(broken)) == []
