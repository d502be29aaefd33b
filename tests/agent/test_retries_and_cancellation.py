"""Lines A2 to A5, B1 to B6 and C4 where time matters: bounds, retries and cancellation meet in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from agent.looping import loop_over, says, tool
from agent.scripted import Part, Pause, Scripted, Turn, in_jumping_time, scripted, summary

from hyperguild.agent.toolbox import READS_AT_ONCE
from hyperguild.agent.transcript import INTERRUPTED, faults
from hyperguild.agent.watch import CallBegan, Compacted, Injected, KeptStep, StepBegan
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import RetryPolicy, TimeLimits
from hyperguild.domain.messages import (
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import AuthError, ModelError, ModelTimeoutError, RateLimitError, ServerError
from hyperguild.inference.events import Reset, Spoke
from hyperguild.simulation.process import FleetProcess

PROSE = " ".join(str(n * 7919 % 10007) for n in range(1000))
LOOPING = "I will now read the file. " * 30


async def look(path: str = "") -> str:
    return f"saw {path}"


async def work(path: str = "") -> str:
    await asyncio.sleep(5)
    return f"worked on {path}"


LOOK, WORK = tool(look), tool(work, "write")


def say(text: str, reason: FinishReason = "stop") -> Turn:
    return (TextDelta(text), Finish(reason))


def call(*named: str, path: str = "") -> Turn:
    made = (
        ToolCallDelta(place, f"c{place}", name, f'{{"path": "{path}"}}') for place, name in enumerate(named)
    )
    return (*made, Finish("tool_calls"))


def used(read: int, written: int = 0) -> UsageReport:
    return UsageReport(Usage(input_tokens=read, output_tokens=written))


def cancelled(bench: Scripted, after_s: float) -> None:
    """Run the loop, and cancel it after so many seconds."""

    async def run() -> None:
        running = asyncio.create_task(bench.run())
        await asyncio.wait({running}, timeout=after_s)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.get_running_loop().time() == pytest.approx(after_s)  # nothing was waited for

    in_jumping_time(run)


def told(bench: Scripted) -> list[str]:
    return [message.text for message in bench.transcript() if message.result is not None]


# -- A2


@pytest.mark.parametrize("most", range(1, 9))
def test_a2_all_kinds_of_calls_draw_on_one_budget(most: int) -> None:
    reading = [call("look", path=f"{n} {PROSE[:500]}") for n in range(3)]
    turns = [
        say("One, ", "length"),  # is continued
        (ServerError("gone"),),  # is tried again
        *reading,
        say(LOOPING),  # is corrected
        *reading,
        say("Done."),
    ]
    bench = scripted(turns, [LOOK], policy=AgentPolicy(max_steps=most, two_stage="never"), context_window=900)

    async def run() -> None:
        try:
            assert (await bench.run()).cause == "max_steps"
        except ServerError:
            assert most == 2  # the last step failed, and there was none to try again

    in_jumping_time(run)
    assert bench.calls_made == most
    kinds = {type(event) for event in bench.events}
    if most == 8:
        assert {Reset, Injected, Compacted} <= kinds


def test_a2_twenty_steps_are_the_default() -> None:
    bench = scripted([call("look", path=str(n)) for n in range(30)], [LOOK], policy=AgentPolicy())
    assert in_jumping_time(bench.run).cause == "max_steps"
    assert bench.calls_made == 20


# -- A3


@pytest.mark.parametrize(
    "ending",
    [
        (TextDelta(LOOPING), Finish("stop")),  # a detector stops it
        (TextDelta("half"), ServerError("gone", retryable=False)),
        (TextDelta("half"), Pause(100)),  # silent for too long, then tried again in vain
    ],
)
def test_a3_what_a_step_that_ended_early_used_is_counted(ending: Sequence[Part]) -> None:
    turns = [(used(100, 1), *ending)] * 2
    bench = scripted(turns)

    async def run() -> None:
        with suppress(ModelError):
            await bench.run()

    in_jumping_time(run)
    asked = bench.calls_made
    assert bench.loop.usage == Usage(input_tokens=100 * asked, output_tokens=asked)
    if bench.kept:
        assert sum(step.usage.input_tokens for step in bench.kept) == 100 * asked


def test_a3_what_is_known_of_a_cancelled_stream_is_counted() -> None:
    bench = scripted([(used(100, 1), *call("look")), (used(200, 2), TextDelta("half"), Pause(50))], [LOOK])
    cancelled(bench, 20)
    assert bench.loop.usage == Usage(input_tokens=300, output_tokens=3)
    assert [step.usage.input_tokens for step in bench.kept] == [100, 200]


async def test_a3_a_real_stream_that_is_cancelled_has_told_its_prompt(fleet: FleetProcess) -> None:
    stalls = {"text": "one two three", "fault": "stall_after_first", "usage": {"input_tokens": 70}}
    bench = loop_over(fleet, [stalls], face="anthropic")
    running = asyncio.create_task(bench.run())
    await bench.until(lambda: bool(bench.loop.text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.loop.usage.input_tokens == 70


# -- A4


def test_a4_a_wait_is_cancelled_at_once_and_nothing_is_asked_after_it() -> None:
    bench = scripted([(RateLimitError("slow down", retry_after_s=4.0),), say("never")])
    cancelled(bench, 2)
    assert bench.calls_made == 1


def test_a4_a_tool_is_stopped_the_next_one_does_not_begin_and_results_survive() -> None:
    bench = scripted([call("work", "work", "work"), say("never")], [WORK])
    cancelled(bench, 7)
    assert told(bench) == ["worked on ", INTERRUPTED, INTERRUPTED]
    assert len(bench.seen(CallBegan)) == 2
    assert bench.calls_made == 1
    assert faults(bench.transcript()) == []


def test_a4_partial_text_survives() -> None:
    bench = scripted([(ReasoningDelta("hm"), TextDelta("Half of "), Pause(50), TextDelta("it"))])
    cancelled(bench, 20)
    last = bench.transcript()[-1]
    assert (last.text, last.reasoning, bench.loop.text) == ("Half of ", "hm", "Half of ")


def test_a4_no_step_begins_after_it() -> None:
    async def slow(step: KeptStep) -> None:
        await asyncio.sleep(10)

    bench = scripted([call("look"), say("never")], [LOOK], keeping=slow)
    cancelled(bench, 5)
    assert bench.calls_made == 1
    assert len(bench.seen(StepBegan)) == 1


def test_a4_a_summary_is_cancelled_and_nothing_is_lost() -> None:
    reading = [call("look", path=f"{n} {PROSE[:500]}") for n in range(9)]
    bench = scripted(
        reading, [LOOK], summaries=[(Pause(50), *summary("So far."))], context_window=1000, label="managed"
    )
    cancelled(bench, 20)
    assert bench.model.asked_for_summary == 1
    assert len(told(bench)) == len(bench.model.requests)
    assert faults(bench.transcript()) == []


# -- A5


def test_a5_a_request_is_sent_three_times_at_most_and_no_layer_multiplies_that() -> None:
    bench = scripted([call("look"), (ServerError("gone"),)], [LOOK])
    with pytest.raises(ServerError):
        in_jumping_time(bench.run)
    assert RetryPolicy().retries == 2
    assert bench.calls_made == 1 + 3


def test_a5_a_summary_is_not_tried_again() -> None:
    reading = [call("look", path=f"{n} {PROSE[:500]}") for n in range(9)]
    bench = scripted(
        [*reading, say("Done.")], [LOOK], summaries=[(ServerError("gone"),)], context_window=1000
    )
    assert in_jumping_time(bench.run).text == "Done."
    assert bench.model.asked_for_summary == 1


# -- B1


@pytest.mark.parametrize("waits_s", [0.0, 59.0, 59.999, 60.0, 60.001, 61.0, 600.0])
@pytest.mark.parametrize("pings", [False, True])
def test_b1_either_the_timeout_wins_or_the_first_part(waits_s: float, *, pings: bool) -> None:
    waiting: Turn = [Pause(waits_s / 4), KeepAlive()] * 4 if pings else [Pause(waits_s)]
    bench = scripted([(*waiting, TextDelta("first"), Finish("stop")), say("second")])
    end = in_jumping_time(bench.run)
    assert TimeLimits().first_token_s == 60
    resets = bench.seen(Reset)
    if end.text == "first":
        assert waits_s <= 60
        assert resets == []
    else:
        assert waits_s >= 60
        assert [reset.reason for reset in resets] == ["no first token within 60 s"]
    assert len(bench.seen(Spoke)) == 1
    assert "".join(event.text for event in bench.seen(TextDelta)) == end.text


def test_b1_an_error_after_a_timeout_keeps_its_own_class() -> None:
    bench = scripted([(Pause(600),), (AuthError("wrong key", status=401),)])
    with pytest.raises(AuthError):
        in_jumping_time(bench.run)
    assert [reset.reason for reset in bench.seen(Reset)] == ["no first token within 60 s"]
    assert bench.calls_made == 2


async def test_b1_a_timeout_drops_the_connection_and_is_tried_again(fleet: FleetProcess) -> None:
    refused = {"error": {"status": 401, "message": "wrong key"}}
    limits = TimeLimits(first_token_s=0.5)
    bench = loop_over(fleet, [{"fault": "hang", "times": 1}, says("At last.")], limits=limits)
    assert (await bench.run()).text == "At last."
    first, _ = (one for one in fleet.requests() if one["path"].endswith("/chat/completions"))
    assert first["outcome"] == "client_disconnected"
    denied = loop_over(fleet, [{"fault": "hang", "times": 1}, refused], limits=limits)
    with pytest.raises(AuthError):
        await denied.run()
    assert len(denied.sent()) == 2
    hanging = loop_over(fleet, [{"fault": "hang"}], limits=limits, policy=AgentPolicy(max_steps=2))
    with pytest.raises(ModelTimeoutError) as caught:
        await hanging.run()
    assert caught.value.retryable
    assert len(hanging.sent()) == 2


# -- B2


async def test_b2_a_stall_in_mid_stream_ends_in_silence_and_is_tried_again(fleet: FleetProcess) -> None:
    stalls = {"text": "one two three", "fault": "stall_after_first", "times": 1}
    bench = loop_over(fleet, [stalls, says("All of it.")], limits=TimeLimits(silence_s=0.5))
    assert (await bench.run()).text == "All of it."
    (reset,) = bench.seen(Reset)
    assert "silent" in reset.reason


# -- B5, B6


async def test_b5_a_retry_begins_a_clean_step(fleet: FleetProcess) -> None:
    broken = {
        "text": "one two ",
        "reasoning": "hm",
        "error": {"status": 500, "message": "gone", "in_stream": True},
        "times": 1,
    }
    bench = loop_over(fleet, [broken, says("The answer.")])
    assert (await bench.run()).text == "The answer."
    assert bench.transcript()[-1].text == "The answer."
    shown: list[str] = []
    for event in bench.events:  # a view that starts anew at a reset shows nothing twice
        if isinstance(event, Reset):
            assert "".join(shown) == "one two "
            shown.clear()
        elif isinstance(event, TextDelta):
            shown.append(event.text)
    assert "".join(shown) == "The answer."
    first, second = bench.sent()
    assert first == second


def test_b5_what_a_failed_try_said_is_no_part_of_what_is_kept() -> None:
    failed = (ReasoningDelta("hm "), TextDelta("one two "), ServerError("gone"))
    bench = scripted([failed, (ReasoningDelta("so"), TextDelta("The answer"), Pause(50))])
    cancelled(bench, 20)
    last = bench.transcript()[-1]
    assert (last.text, last.reasoning, bench.loop.text) == ("The answer", "so", "The answer")


def test_b6_a_continued_answer_that_calls_a_tool_is_not_joined_and_a_dropped_call_is_not_executed() -> None:
    cut = (
        TextDelta("Let me see. "),
        ToolCallDelta(0, "a", "look", '{"path": "x"}'),
        ToolCallDelta(1, "b", "look", '{"path": "y'),
        Finish("length"),
    )
    bench = scripted([cut, say("It is ", "length"), say("fine.")], [LOOK])
    end = in_jumping_time(bench.run)
    assert (end.text, end.finish_reason) == ("It is fine.", "stop")
    assert told(bench) == ["saw x"]


# -- C4


def test_c4_at_most_eight_reads_run_at_once() -> None:
    running = most = 0

    async def slow(path: str = "") -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return path

    bench = scripted([call(*["slow"] * 20), say("Done.")], [tool(slow)])
    assert in_jumping_time(bench.run).text == "Done."
    assert most == READS_AT_ONCE == 8
