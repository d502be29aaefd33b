"""The agent loop over a scripted model: acceptance lines A to H, each by its number."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agent.looping import Bench, calls, loop_over, says, tool

from hyperguild.agent.routing import SELECT
from hyperguild.agent.toolbox import CallRules
from hyperguild.agent.transcript import INTERRUPTED
from hyperguild.agent.watch import CallBegan, CallEnded, Compacted, Injected, StepBegan
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.messages import Message
from hyperguild.domain.tools import ToolCall, ToolError, ToolSpec
from hyperguild.domain.usage import Price
from hyperguild.errors import ContextOverflowError, ProtocolError, ServerError
from hyperguild.inference.events import Reset
from hyperguild.simulation.process import FleetProcess


async def look(path: str = "") -> str:
    return f"saw {path or 'nothing'}"


async def note(path: str = "") -> str:
    return f"noted {path or 'nothing'}"


async def fail(path: str = "") -> str:
    raise ToolError(f"cannot {path}")


LOOK, NOTE, FAIL = tool(look), tool(note, "write"), tool(fail)


def results(bench: Bench) -> list[tuple[str, str, bool]]:
    return [(one.result.name, one.result.text, one.result.is_error) for one in bench.seen(CallEnded)]


async def test_an_answer_without_tools_is_one_step(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [says("Done.")])
    end = await bench.run()
    assert (end.text, end.finish_reason, end.cause) == ("Done.", "stop", None)
    (step,) = bench.kept
    assert [message.role for message in step.messages] == ["system", "user", "assistant"]
    assert "tools" not in bench.sent()[0]


async def test_tools_are_offered_called_and_answered(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet,
        [calls({"name": "look", "arguments": {"path": "a.py"}}, text="Looking."), says("It is fine.")],
        [LOOK, NOTE],
    )
    end = await bench.run()
    assert end.text == "It is fine."
    assert results(bench) == [("look", "saw a.py", False)]
    first, second = bench.sent()
    assert [one["function"]["name"] for one in first["tools"]] == ["look", "note"]
    assert [one["role"] for one in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == "saw a.py"
    assert [step.position for step in bench.kept] == [0, 1]
    assert [message.role for message in bench.kept[1].messages] == ["assistant"]
    bench.check()


async def test_a2_the_step_budget_is_a_stop_reason(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet,
        [calls({"name": "look", "arguments": {"path": str(n)}}, text=f"look {n}") for n in range(9)],
        [LOOK],
        policy=AgentPolicy(max_steps=3),
    )
    end = await bench.run()
    assert end.cause == "max_steps"
    assert "3 steps" in end.feedback
    assert "look 2" in end.feedback
    assert len(bench.sent()) == 3
    bench.check()


async def test_a2_transport_retries_draw_on_the_same_budget(fleet: FleetProcess) -> None:
    broken = {"error": {"status": 500, "message": "gave up"}}
    bench = loop_over(fleet, [broken], policy=AgentPolicy(max_steps=2))
    with pytest.raises(ServerError):
        await bench.run()
    assert len(bench.sent()) == 2
    assert len(bench.seen(Reset)) == 1


async def test_a3_usage_is_counted_on_every_path(fleet: FleetProcess) -> None:
    used = {"usage": {"input_tokens": 10, "output_tokens": 3}}
    bench = loop_over(fleet, [calls("look", **used), says("Done.", **used)], [LOOK])
    await bench.run()
    assert (bench.loop.usage.input_tokens, bench.loop.usage.output_tokens) == (20, 6)
    broken = {"text": "half", "error": {"status": 500, "message": "gave up", "in_stream": True}}
    failing = loop_over(fleet, [calls("look", **used), broken], [LOOK])
    with pytest.raises(ServerError):
        await failing.run()
    assert failing.loop.usage.input_tokens >= 10
    failing.check()


async def test_b6_a_cut_off_answer_is_continued_twice(fleet: FleetProcess) -> None:
    cut = {"finish_reason": "length"}
    bench = loop_over(fleet, [says("One, ", **cut), says("two, ", **cut), says("three.")])
    end = await bench.run()
    assert (end.text, end.finish_reason) == ("One, two, three.", "stop")
    assert "exactly where you left off" in bench.sent()[1]["messages"][-1]["content"]
    endless = loop_over(fleet, [{"text": "and so ", "finish_reason": "length"}])
    end = await endless.run()
    assert (end.text, end.finish_reason) == ("and so " * 3, "length")
    assert len(endless.sent()) == 3
    endless.check()


async def test_b6_a_cut_off_call_is_dropped_and_the_model_told(fleet: FleetProcess) -> None:
    cut = calls("look", {"name": "note", "arguments": '{"path": "a'}, finish_reason="length")
    bench = loop_over(fleet, [cut, says("Done.")], [LOOK, NOTE])
    await bench.run()
    assert [name for name, *_ in results(bench)] == ["look"]
    (told,) = bench.seen(Injected)
    assert "cut off" in told.message.text
    bench.check()


async def test_b7_missing_and_duplicate_ids_are_replaced(fleet: FleetProcess) -> None:
    twice = [{"name": "look", "arguments": {"path": one}, "id": "same"} for one in "ab"]
    bench = loop_over(fleet, [calls(*twice), calls({**twice[0], "id": "same"}), says("Done.")], [LOOK])
    await bench.run()
    ids = [event.call.id for event in bench.seen(CallBegan)]
    assert len(set(ids)) == 3
    assert [text for _, text, _ in results(bench)] == ["saw a", "saw b", "saw a"]
    bench.check()


async def test_b7_broken_arguments_become_an_error_result(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls({"name": "look", "arguments": '{"path": '}), says("Done.")], [LOOK])
    await bench.run()
    ((_, text, is_error),) = results(bench)
    assert is_error
    assert "Expecting value" in text
    bench.check()


async def test_c4_reads_run_at_once_writes_keep_their_order(fleet: FleetProcess) -> None:
    running: list[str] = []
    order: list[str] = []
    both = asyncio.Event()

    async def slow_look(path: str) -> str:
        running.append(path)
        if len(running) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 5)
        order.append(f"look {path}")
        return path

    async def slow_note(path: str) -> str:
        running.append(path)
        await asyncio.sleep(0.05 if path == "c" else 0)
        order.append(f"note {path}")
        return path

    def call(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "arguments": {"path": path}}

    step = calls(
        call("slow_look", "a"),
        call("slow_look", "b"),
        call("slow_note", "c"),
        call("slow_note", "d"),
        call("slow_look", "e"),
    )
    bench = loop_over(fleet, [step, says("Done.")], [tool(slow_look), tool(slow_note, "write")])
    await bench.run()
    assert sorted(order[:2]) == ["look a", "look b"]
    assert order[2:] == ["note c", "note d", "look e"]
    told = [message.text for message in bench.transcript() if message.result is not None]
    assert told == ["a", "b", "c", "d", "e"]
    for one in bench.seen(CallEnded):
        assert one.result.started_at <= one.result.ended_at
    bench.check()


async def test_c5_faults_are_results_and_siblings_are_kept(fleet: FleetProcess) -> None:
    async def explode(path: str = "") -> str:
        raise RuntimeError("boom")

    async def hang(path: str = "") -> str:
        await asyncio.sleep(60)
        return "never"

    step = calls("look", "lok", "explode", "hang", {"name": "note", "arguments": {"file": 1}}, "fail")
    quick = CallRules(allow_all, keep_whole, timeout_s=0.1)
    tools = [LOOK, NOTE, FAIL, tool(explode), tool(hang)]
    bench = loop_over(fleet, [step, says("Done.")], tools, toolbox_rules=quick)
    end = await bench.run()
    assert end.text == "Done."
    told = {name: (text, is_error) for name, text, is_error in results(bench)}
    assert told["look"] == ("saw nothing", False)
    assert "did you mean look? Available: " in told["lok"][0]
    assert "explode failed: RuntimeError: boom" in told["explode"][0]
    assert "did not finish within 0.1 s" in told["hang"][0]
    assert "bad arguments" in told["note"][0]
    assert told["fail"] == ("cannot ", True)
    assert [is_error for _, is_error in told.values()].count(False) == 1
    bench.check()


async def allow_all(call: ToolCall, spec: ToolSpec) -> str | None:
    return None


async def keep_whole(call: ToolCall, text: str) -> str:
    return text


async def test_c2_what_is_not_permitted_is_a_result(fleet: FleetProcess) -> None:
    async def no_writes(call: ToolCall, spec: ToolSpec) -> str | None:
        return "writing is not allowed here" if spec.effect == "write" else None

    bench = loop_over(
        fleet,
        [calls("look", "note"), says("Done.")],
        [LOOK, NOTE],
        toolbox_rules=CallRules(no_writes, keep_whole, timeout_s=5),
    )
    await bench.run()
    assert results(bench) == [("look", "saw nothing", False), ("note", "writing is not allowed here", True)]


async def test_c8_a_model_without_tools_is_offered_none(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [says("Done.")], [LOOK], declares_tools=False)
    await bench.run()
    assert "tools" not in bench.sent()[0]


async def test_c10_a_stop_after_tool_ends_the_attempt_if_it_succeeds(fleet: FleetProcess) -> None:
    async def submit(path: str = "") -> str:
        if not path:
            raise ToolError("what?")
        return f"submitted {path}"

    handed_in = tool(submit, "write", stop_after=True)
    good = {"name": "submit", "arguments": {"path": "x"}}
    bench = loop_over(fleet, [calls("submit"), calls(good), says("never")], [handed_in])
    end = await bench.run()
    assert (end.text, end.cause) == ("submitted x", None)
    assert len(bench.sent()) == 2
    assert bench.transcript()[-1].text == "submitted x"
    bench.check()


async def test_c10_exclusive_tools_refuse_a_mixed_batch_whole(fleet: FleetProcess) -> None:
    ran: list[str] = []

    async def alone(path: str = "") -> str:
        ran.append("alone")
        return "ok"

    async def other(path: str = "") -> str:
        ran.append("other")
        return "ok"

    bench = loop_over(
        fleet, [calls("other", "alone"), says("Done.")], [tool(other), tool(alone, exclusive=True)]
    )
    await bench.run()
    assert ran == []
    assert all(is_error and "alone" in text for _, text, is_error in results(bench))
    bench.check()


async def test_e1_the_first_step_offers_categories_alone(fleet: FleetProcess) -> None:
    choose = {"name": SELECT, "arguments": {"category": "read"}}
    bench = loop_over(
        fleet,
        [calls(choose), calls("look"), says("Done.")],
        [LOOK, NOTE],
        policy=AgentPolicy(two_stage="always"),
    )
    end = await bench.run()
    assert end.text == "Done."
    offered = [[one["function"]["name"] for one in body["tools"]] for body in bench.sent()]
    assert offered == [[SELECT], ["look", SELECT], ["look", SELECT]]
    assert [body["tool_choice"] for body in bench.sent()] == ["required", "auto", "auto"]
    bench.check()


async def test_e1_a_tool_that_was_not_offered_is_refused(fleet: FleetProcess) -> None:
    choose = {"name": SELECT, "arguments": {"category": "read"}}
    bench = loop_over(
        fleet,
        [calls(choose), calls("note"), calls("note", choose), says("Done.")],
        [LOOK, NOTE],
        policy=AgentPolicy(two_stage="always"),
    )
    await bench.run()
    assert "is not available in this step" in results(bench)[1][1]
    assert "not executed" in results(bench)[2][1]
    bench.check()


async def test_e1_prose_at_the_first_stage_is_corrected_once_then_it_is_the_answer(
    fleet: FleetProcess,
) -> None:
    bench = loop_over(
        fleet,
        [says("I think it is fine."), says("It is fine.")],
        [LOOK, NOTE],
        policy=AgentPolicy(two_stage="always"),
    )
    end = await bench.run()
    assert end.text == "It is fine."
    assert len(bench.seen(Injected)) == 1


async def test_f1_a_repetition_is_stopped_in_the_stream_and_corrected_once(fleet: FleetProcess) -> None:
    loop = {"text": "I will now read the file. ", "repeat": 5000, "times": 1}
    bench = loop_over(fleet, [loop, says("The file is empty.")])
    end = await bench.run()
    assert end.text == "The file is empty."
    (told,) = bench.seen(Injected)
    assert "again and again" in told.message.text
    assert len(bench.transcript()[2].text) < 5000
    bench.check()


async def test_f5_the_second_trip_ends_the_attempt_with_its_cause(fleet: FleetProcess) -> None:
    loop = {"text": "I will now read the file. ", "repeat": 5000}
    bench = loop_over(fleet, [loop])
    end = await bench.run()
    assert end.cause == "repetition"
    assert "I will now read the file" in end.feedback
    assert len(end.feedback) < 2500
    assert len(bench.sent()) == 2


async def test_f1_arguments_and_reasoning_are_watched_too(fleet: FleetProcess) -> None:
    circle = {"reasoning": "Let me think about this again. " * 50, "text": "x", "times": 1}
    bench = loop_over(fleet, [circle, says("Done.")])
    assert (await bench.run()).text == "Done."
    assert len(bench.seen(Injected)) == 1
    stuck = calls({"name": "look", "arguments": {"path": "then I read the file again and " * 60}})
    again = loop_over(fleet, [stuck, says("Done.")], [LOOK])
    assert (await again.run()).text == "Done."
    assert results(again) == []
    again.check()


async def test_f2_a_greeting_after_tools_is_no_answer(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet, [calls("look"), says("Hello! How can I help you today?"), says("It is 4.")], [LOOK]
    )
    assert (await bench.run()).text == "It is 4."
    assert len(bench.seen(Injected)) == 1


async def test_f3_the_fourth_failed_patch_of_a_file_steers(fleet: FleetProcess) -> None:
    async def edit(path: str) -> str:
        raise ToolError(f"no such text in {path} ({len(tried)})")

    tried: list[str] = []

    async def counted(path: str) -> str:
        tried.append(path)
        return await edit(path)

    counted.__name__ = "edit"
    patch = calls({"name": "edit", "arguments": {"path": "a.py"}})
    bench = loop_over(fleet, [patch, patch, patch, patch, says("I give up.")], [tool(counted, "write")])
    await bench.run()
    (told,) = bench.seen(Injected)
    assert "a.py" in told.message.text
    assert "Read the whole file" in told.message.text
    bench.check()


async def test_f4_the_same_call_three_times_trips(fleet: FleetProcess) -> None:
    same = {"tool_calls": [{"name": "look", "arguments": {"path": "x"}}]}
    bench = loop_over(fleet, [same], [LOOK])
    end = await bench.run()
    assert end.cause == "repeated_call"
    assert len(bench.sent()) == 6
    bench.check()


async def test_g1_older_messages_are_summarised_when_the_window_fills(fleet: FleetProcess) -> None:
    async def read(path: str) -> str:
        return f"{path}: " + " ".join(str(n * 7919 % 10007) for n in range(120))

    steps = [calls({"name": "read", "arguments": {"path": f"f{n}"}}) for n in range(8)]
    summary = {"text": "Goal: read. Done: f0 to f4.", "when": {"contains": "<record"}}
    bench = loop_over(fleet, [summary, *steps, says("All read.")], [tool(read)], context_window=1500)
    end = await bench.run()
    assert end.text == "All read."
    compacted = bench.seen(Compacted)
    assert compacted
    assert all(not one.failure for one in compacted)
    last = bench.sent()[-1]["messages"]
    assert "Goal: read. Done: f0 to f4." in last[1]["content"]
    assert last[1]["content"].startswith("Do the task.")
    assert [step.kind for step in bench.kept].count("summary") == len(compacted)
    read_paths = [call.arguments for message in everything(bench) for call in message.tool_calls]
    assert len(read_paths) >= 8  # nothing older is lost from what is kept
    bench.check()


def everything(bench: Bench) -> list[Message]:
    return [message for step in bench.kept if step.kind == "step" for message in step.messages]


async def test_g1_a_failed_summary_is_an_event_and_not_the_end(fleet: FleetProcess) -> None:
    async def read(path: str) -> str:
        return f"{path}: " + " ".join(str(n * 7919 % 10007) for n in range(120))

    steps = [calls({"name": "read", "arguments": {"path": f"f{n}"}}) for n in range(8)]
    broken = {"error": {"status": 400, "message": "no"}, "when": {"contains": "<record"}}
    bench = loop_over(fleet, [broken, *steps, says("All read.")], [tool(read)], context_window=1500)
    assert (await bench.run()).text == "All read."
    assert [bool(one.failure) for one in bench.seen(Compacted)] == [True]


async def test_g2_an_overflow_compacts_once_by_force_and_tries_once_more(fleet: FleetProcess) -> None:
    steps = [calls({"name": "look", "arguments": {"path": f"f{n}"}}) for n in range(5)]
    overflow = {
        "error": {
            "status": 400,
            "message": "the request exceeds the available context size",
            "code": "context_length_exceeded",
        },
        "times": 1,
    }
    summary = {"text": "Done: all.", "when": {"contains": "<record"}, "times": 1}
    bench = loop_over(fleet, [summary, *steps, overflow, says("Fine.")], [LOOK])
    assert (await bench.run()).text == "Fine."
    assert len(bench.seen(Compacted)) == 1
    bench.check()
    twice = loop_over(fleet, [summary, *steps, {**overflow, "times": 9}], [LOOK])
    with pytest.raises(ContextOverflowError):
        await twice.run()


async def test_g3_a_final_step_never_compacts(fleet: FleetProcess) -> None:
    long_answer = " ".join(str(n * 7919 % 10007) for n in range(900))
    bench = loop_over(fleet, [calls("look"), says(long_answer)], [LOOK], context_window=1000)
    assert (await bench.run()).text == long_answer
    assert not bench.seen(Compacted)


async def test_h1_an_interrupted_answer_keeps_its_open_text(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls("look"), {"text": "Half of it", "fault": "stall_after_first"}], [LOOK])
    running = asyncio.create_task(bench.run())
    await bench.until(lambda: bool(bench.loop.text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "Half of it".startswith(bench.transcript()[-1].text)
    assert bench.transcript()[-1].text == bench.loop.text
    bench.check()


async def test_h1_interrupted_tools_keep_what_is_finished(fleet: FleetProcess) -> None:
    stopped = asyncio.Event()

    async def wait(path: str = "") -> str:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return "never"

    bench = loop_over(fleet, [calls("look", "wait", "note")], [LOOK, NOTE, tool(wait)])
    running = asyncio.create_task(bench.run())
    await bench.until(lambda: bool(bench.seen(CallEnded)))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stopped.is_set()
    told = [message.text for message in bench.transcript() if message.result is not None]
    assert told == ["saw nothing", INTERRUPTED, INTERRUPTED]
    bench.check()


async def test_h2_each_step_is_kept_once_with_usage_and_times(fleet: FleetProcess) -> None:
    bench = loop_over(fleet, [calls("look", "note"), calls("look"), says("Done.")], [LOOK, NOTE])
    await bench.run()
    assert [step.position for step in bench.kept] == [0, 1, 2]
    assert [step.anew for step in bench.kept] == [True, False, False]
    assert all(step.usage.input_tokens > 0 for step in bench.kept)
    assert [len(step.messages) for step in bench.kept] == [2 + 3, 2, 1]
    assert len(bench.seen(StepBegan)) == 3


async def test_money_that_runs_out_ends_the_attempt_before_the_next_step(fleet: FleetProcess) -> None:
    used = {"usage": {"input_tokens": 1000, "output_tokens": 100}}
    bench = loop_over(
        fleet,
        [calls({"name": "look", "arguments": {"path": str(n)}}, **used) for n in range(9)],
        [LOOK],
        price=Price(input=10.0, output=10.0),
        max_output_tokens=100,
        budget={"cost_left_usd": 0.03},
    )
    end = await bench.run()
    assert end.cause == "budget"
    spent = bench.loop.usage.input_tokens * 10e-6 + bench.loop.usage.output_tokens * 10e-6
    assert 0 < spent <= 0.03


@pytest.mark.parametrize(("left_usd", "asked"), [(0.0015, 1), (0.0025, 2), (1.0, 3), (None, 3)])
async def test_a_call_is_tried_again_only_as_often_as_money_allows(
    fleet: FleetProcess, left_usd: float | None, asked: int
) -> None:
    cut_off = {"text": "x", "fault": "no_finish", "usage": {"input_tokens": 1, "output_tokens": 100}}
    bench = loop_over(
        fleet,
        [cut_off] * 3,
        price=Price(input=10.0, output=10.0),
        max_output_tokens=100,
        budget={"cost_left_usd": left_usd},
    )
    with pytest.raises(ProtocolError):
        await bench.run()
    assert len(bench.sent()) == asked


async def test_b8_a_server_that_cannot_parse_a_call_is_not_asked_again(fleet: FleetProcess) -> None:
    broken = {"error": {"status": 500, "message": "Failed to parse tool call arguments as JSON"}}
    bench = loop_over(fleet, [broken], [LOOK, NOTE])
    with pytest.raises(ServerError) as caught:
        await bench.run()
    assert "with 2 tools on offer" in caught.value.message
    assert "--jinja" in (caught.value.hint or "")
    assert len(bench.sent()) == 1
