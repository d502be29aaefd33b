"""The agent loop where things come together badly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from agent.looping import PROMPT, FunctionTool, tool
from agent.scripted import Part, Pause, Scripted, Turn, in_jumping_time, scripted, summary

from hyperguild.agent.conversation import NOTHING_SAID
from hyperguild.agent.loop import CALL_CUT_OFF
from hyperguild.agent.routing import SELECT
from hyperguild.agent.terms import LoopEnd
from hyperguild.agent.transcript import INTERRUPTED
from hyperguild.agent.watch import CallBegan, CallEnded, Compacted, Injected
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.messages import (
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReport,
    VerbatimContent,
)
from hyperguild.domain.tools import ToolError
from hyperguild.domain.usage import Price, Usage
from hyperguild.errors import ConnectError, ServerError

ALWAYS = AgentPolicy(two_stage="always")
PROSE = " ".join(str(n * 7919 % 10007) for n in range(1000))
LOOPING = "I will now read the file. " * 30


async def look(path: str = "") -> str:
    return f"saw {path}"


async def note(path: str = "") -> str:
    return f"noted {path}"


async def submit(path: str = "") -> str:
    return f"submitted {path}"


LOOK, NOTE, SUBMIT = tool(look), tool(note, "write"), tool(submit, "write", stop_after=True)


def says(text: str, reason: FinishReason = "stop") -> Turn:
    return (TextDelta(text), Finish(reason))


def calls(
    *made: tuple[str, str] | str, reason: FinishReason = "tool_calls", before: Sequence[Part] = ()
) -> Turn:
    pairs = [(one, "{}") if isinstance(one, str) else one for one in made]
    return (
        *before,
        *(ToolCallDelta(place, f"c{place}", name, raw) for place, (name, raw) in enumerate(pairs)),
        Finish(reason),
    )


def used(read: int, written: int = 0) -> UsageReport:
    return UsageReport(Usage(input_tokens=read, output_tokens=written))


def run(bench: Scripted) -> LoopEnd:
    return in_jumping_time(bench.run)


def told(bench: Scripted) -> list[tuple[str, bool]]:
    return [(event.result.text, event.result.is_error) for event in bench.seen(CallEnded)]


def roles(bench: Scripted, request: int = -1) -> list[str]:
    return [message.role for message in bench.model.requests[request].messages]


def test_b6_a_text_that_is_cut_off_at_the_last_step_stands_once() -> None:
    bench = scripted([says("One, ", "length")], policy=AgentPolicy(max_steps=1))
    end = run(bench)
    assert (end.cause, end.text, bench.loop.text) == ("max_steps", "One, ", "One, ")


def test_b6_an_answer_that_is_asked_for_anew_is_not_joined_to_what_was_cut_off() -> None:
    stopped = scripted([says("One, ", "length"), says(LOOPING), says("All of it.")])
    assert run(stopped).text == "All of it."
    prose = scripted([says("One, ", "length"), says("two."), says("One, two.")], [LOOK, NOTE], policy=ALWAYS)
    assert run(prose).text == "One, two."


def test_b6_text_before_a_call_is_no_part_of_the_answer_after_it() -> None:
    bench = scripted([says("I think that ", "length"), calls("look"), says("It is 4.")], [LOOK])
    assert run(bench).text == "It is 4."


def test_b6_a_call_that_is_cut_off_before_its_arguments_is_dropped() -> None:
    bench = scripted([calls("look", ("note", ""), reason="length"), says("Done.")], [LOOK, NOTE])
    run(bench)
    assert told(bench) == [("saw ", False)]
    assert [event.message.text for event in bench.seen(Injected)] == [CALL_CUT_OFF]


def test_a1_an_answer_of_which_nothing_is_left_still_has_its_turn() -> None:
    dropped = scripted([calls(("note", ""), reason="length"), says("Done.")], [LOOK, NOTE])
    run(dropped)
    assert roles(dropped) == ["system", "user", "assistant", "user"]
    circling = scripted([(ReasoningDelta(LOOPING), Finish("stop")), says("Done.")])
    run(circling)
    assert roles(circling) == ["system", "user", "assistant", "user"]
    assert circling.model.requests[-1].messages[2].text == NOTHING_SAID
    empty = scripted([(Finish("stop"),), says("Done.")], [LOOK, NOTE], policy=ALWAYS)
    run(empty)
    assert empty.model.requests[-1].messages[2].text == NOTHING_SAID


def test_a1_two_messages_after_one_step_become_one() -> None:
    repeated = calls("look", reason="tool_calls")
    cut = calls("look", ("note", '{"pa'), reason="length")
    bench = scripted([repeated, repeated, cut, says("Done.")], [LOOK, NOTE])
    run(bench)
    assert len(bench.seen(Injected)) == 2
    assert roles(bench)[-3:] == ["assistant", "tool", "user"]
    assert bench.model.requests[-1].messages[-1].text.startswith(CALL_CUT_OFF)


def test_b4_content_with_calls_that_are_not_executed_does_not_go_back_verbatim() -> None:
    content = VerbatimContent(({"type": "tool_use", "id": "c0", "name": "look", "input": {}},))
    bench = scripted([calls("look", reason="length", before=(TextDelta("So "), content)), says("it is.")])
    run(bench)
    assert bench.model.requests[-1].messages[2].verbatim is None


@pytest.mark.parametrize("reason", ["refusal", "content_filter"])
def test_b3_calls_of_an_answer_that_was_withheld_are_not_executed(reason: FinishReason) -> None:
    bench = scripted([calls("note", reason=reason), says("Done.")], [LOOK, NOTE])
    end = run(bench)
    assert (end.finish_reason, bench.seen(CallBegan)) == (reason, [])


def test_b7_a_name_that_no_server_takes_back_is_replaced() -> None:
    bench = scripted([calls("multi_tool.use", "", "x" * 99), says("Done.")], [LOOK])
    run(bench)
    names = [call.name for call in bench.model.requests[-1].messages[2].tool_calls]
    assert names == ["multi_tool_use", "unnamed", "x" * 64]
    assert all("does not exist" in text for text, _ in told(bench))


def test_b7_ids_stay_unique_after_a_summary() -> None:
    bench = scripted([*reading(9), says("Done.")], [LOOK], context_window=1000)
    run(bench)
    assert bench.seen(Compacted)
    ids = [event.call.id for event in bench.seen(CallBegan)]
    assert len(set(ids)) == len(ids) == 9


def test_c10_the_answer_is_the_result_of_the_tool_that_stopped() -> None:
    bench = scripted([calls("submit", "look")], [LOOK, SUBMIT])
    assert run(bench).text == "submitted "


def test_c10_what_is_refused_in_a_mixed_batch_was_seen_to_be_called() -> None:
    lonely = tool(note, "exec", exclusive=True)
    bench = scripted([calls("look", "note"), says("Done.")], [LOOK, lonely])
    run(bench)
    assert [event.call.name for event in bench.seen(CallBegan)] == ["look", "note"]


def tools_with_faults() -> list[FunctionTool]:
    async def too_late(path: str = "") -> str:
        raise TimeoutError("the database did not answer")

    async def abandoned(path: str = "") -> str:
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    async def odd(path: str = "") -> str:
        return "name \udcff"

    async def mute(path: str = "") -> str:
        raise ToolError("")

    async def nothing(path: str = "") -> str:
        return None  # type: ignore[return-value]  # what a careless tool does

    return [tool(one) for one in (too_late, abandoned, odd, mute, nothing)]


def test_c5_faults_inside_a_tool_are_results_of_that_tool_alone() -> None:
    faulty = tools_with_faults()
    bench = scripted([calls(*(one.spec.name for one in faulty), "look"), says("Done.")], [*faulty, LOOK])
    assert run(bench).text == "Done."
    results = [message.text for message in bench.transcript() if message.result is not None]
    assert results[:4] == [
        "too_late failed: TimeoutError: the database did not answer",
        "abandoned gave up",
        "name ?",
        "mute failed",
    ]
    assert results[4].startswith("nothing failed")
    assert results[5] == "saw "


@pytest.mark.parametrize("raw", ['{"path": NaN}', '{"path": 1e999}', '{"path": -Infinity}'])
def test_b7_numbers_that_json_does_not_have_are_quoted_as_faults(raw: str) -> None:
    bench = scripted([calls(("look", raw)), says("Done.")], [LOOK])
    run(bench)
    ((text, is_error),) = told(bench)
    assert is_error
    assert "not valid JSON" in text


def test_b7_half_a_character_in_a_call_is_replaced() -> None:
    bench = scripted([calls(("look", '{"path": "\ud800"}')), says("Done.")], [LOOK])
    run(bench)
    assert told(bench) == [("saw ?", False)]


def test_e1_going_back_to_a_category_is_no_repeated_call() -> None:
    def choose(category: str) -> Turn:
        return calls((SELECT, f'{{"category": "{category}"}}'))

    back_and_forth = [choose(one) for one in ("read", "write") * 4]
    bench = scripted([*back_and_forth, says("Done.")], [LOOK, NOTE], policy=ALWAYS)
    assert run(bench).text == "Done."
    assert not bench.seen(Injected)
    stuck = scripted([choose("read")], [LOOK, NOTE], policy=ALWAYS)
    assert run(stuck).cause == "repeated_call"


def test_e1_an_unknown_category_is_quoted_in_short() -> None:
    bench = scripted(
        [calls((SELECT, f'{{"category": "{PROSE}"}}')), says("Done."), says("Done.")],
        [LOOK, NOTE],
        policy=ALWAYS,
    )
    run(bench)
    assert len(told(bench)[0][0]) < 200


def reading(steps: int) -> list[Turn]:
    """Steps that fill a window of 1,000 tokens."""
    return [calls(("look", f'{{"path": "{n} {PROSE[:400]}"}}')) for n in range(steps)]


def test_a3_what_a_failed_summary_used_is_counted() -> None:
    broken = (TextDelta("So"), used(500, 7), ServerError("crashed"))
    bench = scripted([*reading(8), says("Done.")], [LOOK], summaries=[broken], context_window=1000)
    assert run(bench).text == "Done."
    assert [bool(event.failure) for event in bench.seen(Compacted)] == [True]
    assert bench.loop.usage == Usage(input_tokens=500, output_tokens=7)


def test_a3_what_a_summary_used_is_counted_when_it_is_cancelled() -> None:
    hanging = (TextDelta("So"), used(500, 7), Pause(50))
    bench = scripted([*reading(8), says("Done.")], [LOOK], summaries=[hanging], context_window=1000)

    async def cancelled() -> None:
        running = asyncio.create_task(bench.run())
        await asyncio.wait({running}, timeout=20)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    in_jumping_time(cancelled)
    assert bench.loop.usage == Usage(input_tokens=500, output_tokens=7)


def test_g1_what_failed_tries_used_does_not_fill_the_window() -> None:
    failing = (TextDelta("So"), used(900), ConnectError("gone"))
    steps = [(used(100), *turn) for turn in reading(6)]
    turns = [*steps[:5], failing, steps[5], says("Done.")]
    bench = scripted(turns, [LOOK], context_window=1400, label="managed")
    assert run(bench).text == "Done."
    assert not bench.seen(Compacted)


def test_g1_a_share_of_one_switches_summaries_off() -> None:
    off = AgentPolicy(compact_at=1.0)
    bench = scripted([*reading(8), says("Done.")], [LOOK], policy=off, context_window=300)
    assert run(bench).text == "Done."
    assert not bench.seen(Compacted)


def test_g1_money_is_looked_at_again_after_a_summary() -> None:
    dear = (TextDelta("So far."), used(900_000), Finish("stop"))
    bench = scripted(
        [*reading(8), says("Done.")],
        [LOOK],
        summaries=[dear],
        context_window=1000,
        max_output_tokens=10,
        price=Price(input=1.0, output=1.0),
        budget={"cost_left_usd": 0.5},
    )
    assert run(bench).cause == "budget"
    assert bench.model.reported[-1].input_tokens == 900_000


def test_the_deadline_stops_tools_as_well() -> None:
    async def dawdle(path: str = "") -> str:
        await asyncio.sleep(9)
        return "at last"

    bench = scripted(
        [calls("look", "dawdle", "note")], [LOOK, NOTE, tool(dawdle, "exec")], budget={"time_left_s": 4.0}
    )
    end = run(bench)
    assert end.cause == "budget"
    assert "deadline" in end.feedback
    results = [message.text for message in bench.transcript() if message.result is not None]
    assert results == ["saw ", INTERRUPTED, INTERRUPTED]
    assert len(bench.transcript()) == len(PROMPT) + 4


def test_h2_a_summary_is_kept_with_its_own_place_and_use() -> None:
    bench = scripted(
        [*reading(8), says("Done.")], [LOOK], summaries=[summary("So far.")], context_window=1000
    )
    run(bench)
    positions = [step.position for step in bench.kept]
    assert positions == sorted(set(positions))
    summaries = [step for step in bench.kept if step.kind == "summary"]
    assert summaries
    for kept in summaries:
        assert kept.usage.output_tokens == 5
        assert [message.role for message in kept.messages[:3]] == ["system", "user", "assistant"]
    assert bench.loop.usage.output_tokens == 5 * len(summaries)


def test_b4_signed_reasoning_goes_back_to_its_model_with_the_step() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "s"}
    bench = scripted([calls("look", before=(VerbatimContent((signed,)),)), says("Done.")], [LOOK])
    run(bench)
    (said,) = [message for message in bench.model.requests[1].messages if message.role == "assistant"]
    assert said.verbatim is not None
    assert (said.verbatim.model, said.verbatim.content) == ("m", (signed,))


def test_f5_the_detectors_begin_anew_after_a_trip() -> None:
    """Three times the same is a trip; two more are not the fourth and the fifth."""
    bench = scripted([*[calls("look")] * 5, says("It is as I saw it the first time.")], [LOOK])
    end = run(bench)
    assert (end.text, end.cause) == ("It is as I saw it the first time.", None)
    assert len(bench.seen(Injected)) == 1
