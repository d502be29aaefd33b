"""E2, G1, G2 and H1 in one loop: what a small window does to what is sent, and leaves of what is kept."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
from agent.looping import calls as calls_of
from agent.looping import loop_over, tool
from agent.looping import says as says_of
from agent.scripted import Pause, Turn, in_jumping_time, scripted, summary

from hyperguild.agent.compaction import SUMMARY_TIMEOUT_S
from hyperguild.agent.transcript import faults
from hyperguild.agent.watch import Compacted
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.messages import Finish, ReasoningDelta, TextDelta, ToolCallDelta
from hyperguild.errors import ContextOverflowError
from hyperguild.simulation.process import FleetProcess

SHRUNK = re.compile(r"\[prior result: \d+ chars\]")
PLAIN = AgentPolicy(two_stage="never")


async def read(path: str = "") -> str:
    if path == "f1":
        raise FileNotFoundError(path)
    return f"{path}: " + " ".join(str(n * 7919 % 10007) for n in range(150))


READ = tool(read)


def reading(steps: int) -> list[Turn]:
    return [
        (ToolCallDelta(0, f"c{n}", "read", f'{{"path": "f{n}"}}'), Finish("tool_calls")) for n in range(steps)
    ]


def done() -> Turn:
    return (TextDelta("Done."), Finish("stop"))


async def test_e2_past_half_the_window_old_results_shrink_in_one_batch(fleet: FleetProcess) -> None:
    steps = [calls_of({"name": "read", "arguments": {"path": f"f{n}"}}) for n in range(7)]
    bench = loop_over(
        fleet, [*steps, says_of("Done.")], [READ], label="local", policy=PLAIN, context_window=2000
    )
    assert (await bench.run()).text == "Done."
    sent = [
        [message["content"] for message in body["messages"] if message["role"] == "tool"]
        for body in bench.sent()
    ]
    shrunk = [sum(1 for text in texts if SHRUNK.fullmatch(text)) for texts in sent]
    assert shrunk[:3] == [0, 0, 0]  # within half the window nothing is touched
    assert shrunk[-1] > 0
    for texts in sent:  # the last two steps are always whole
        assert not any(SHRUNK.fullmatch(text) for text in texts[-2:])
    batches = [now for before, now in itertools.pairwise(shrunk) if now != before]
    assert len(batches) < len(sent) - 3  # each change costs the server its prefix cache
    kept = [message.text for message in bench.transcript() if message.result is not None]
    assert not any(SHRUNK.fullmatch(text) for text in kept)
    assert [message.result.is_error for message in bench.transcript() if message.result][1]
    assert not bench.seen(Compacted)
    bench.check()


def test_e2_other_models_see_old_results_whole() -> None:
    bench = scripted([*reading(4), done()], [READ], label="managed", context_window=3000)
    in_jumping_time(bench.run)
    texts = [message.text for message in bench.model.requests[-1].messages]
    assert not any(SHRUNK.fullmatch(text) for text in texts)


def test_g1_a_summary_has_ninety_seconds() -> None:
    endless = [part for _ in range(9) for part in (Pause(30), TextDelta("x"))]
    bench = scripted([*reading(8), done()], [READ], summaries=[endless], label="managed", context_window=1500)

    async def run() -> float:
        clock = asyncio.get_running_loop()
        await bench.run()
        return clock.time()

    took_s = in_jumping_time(run)
    assert SUMMARY_TIMEOUT_S == 90
    assert took_s == pytest.approx(90, abs=1)
    (compacted,) = bench.seen(Compacted)
    assert "90" in compacted.failure


def test_g1_g2_no_step_of_the_log_is_deleted_by_a_summary() -> None:
    bench = scripted([*reading(8), done()], [READ], label="managed", context_window=1500)
    in_jumping_time(bench.run)
    assert bench.seen(Compacted)
    called = [
        call.id for step in bench.kept if step.kind == "step" for m in step.messages for call in m.tool_calls
    ]
    assert len(called) == len(set(called)) == 8
    for request in bench.model.requests:
        assert faults(request.messages) == []


def test_g2_a_second_overflow_is_the_end() -> None:
    overflow: Turn = (ContextOverflowError("too long"),)
    bench = scripted(
        [*reading(6), overflow, overflow], [READ], label="managed", summaries=[summary("So far.")]
    )
    with pytest.raises(ContextOverflowError):
        in_jumping_time(bench.run)
    assert bench.model.asked_for_summary <= 2
    assert faults(bench.transcript()) == []


def test_h1_arguments_that_were_cut_off_are_dropped_and_the_rest_is_kept() -> None:
    halfway: Turn = (
        ReasoningDelta("I should look."),
        TextDelta("Let me see. "),
        ToolCallDelta(0, "a", "read", '{"path": "f'),
        Pause(50),
    )
    bench = scripted([*reading(1), halfway], [READ])

    async def cancelled() -> None:
        running = asyncio.create_task(bench.run())
        await asyncio.wait({running}, timeout=10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    in_jumping_time(cancelled)
    last = bench.transcript()[-1]
    assert (last.text, last.reasoning, last.tool_calls) == ("Let me see. ", "I should look.", ())
    assert faults(bench.transcript()) == []
