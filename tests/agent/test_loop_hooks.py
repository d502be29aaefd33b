"""Hooks, external tools and continued attempts, over a scripted model behind real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from agent.looping import PROMPT, Bench, calls, loop_over, says, tool, whole

from hyperguild.agent.hooks import Control, Denied, Hook, Hooks
from hyperguild.agent.loop import GO_ON
from hyperguild.agent.resumption import CONTINUE, Resumption
from hyperguild.agent.toolbox import CallRules
from hyperguild.agent.transcript import INTERRUPTED, faults
from hyperguild.agent.watch import CallBegan, CallEnded, HookFailed, Injected, Replaced
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.message_records import as_record
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec
from hyperguild.domain.usage import Price, Usage
from hyperguild.errors import CommandError, HyperguildError
from hyperguild.simulation.process import FleetProcess


async def look(path: str = "") -> str:
    return f"saw {path or 'nothing'}"


async def note(path: str = "") -> str:
    return f"noted {path or 'nothing'}"


async def slow(path: str = "") -> str:
    await asyncio.sleep(600)
    return path


LOOK, NOTE, SLOW = tool(look), tool(note, "write"), tool(slow)
ASK_USER = ToolSpec(
    "ask_user", "Ask.", {"type": "object", "properties": {}}, "exec", source="caller", external=True
)


def called(name: str = "look", path: str = "a") -> dict[str, Any]:
    return calls({"name": name, "arguments": {"path": path}})


def results(bench: Bench) -> list[tuple[str, str, bool]]:
    return [(one.result.name, one.result.text, one.result.is_error) for one in bench.seen(CallEnded)]


async def test_c7_pre_tool_denies_and_rewrites_before_anything_is_checked(fleet: FleetProcess) -> None:
    async def guard(call: ToolCall) -> ToolCall | Denied | None:
        path = (call.arguments or {}).get("path")
        if path == "secret":
            return Denied("not that one")
        return replace(call, arguments={"path": "b"}) if path == "a" else None

    permitted = []

    async def permit(call: ToolCall, spec: ToolSpec) -> str | None:
        permitted.append((spec.name, call.arguments))
        return None

    async def whole(call: ToolCall, text: str) -> str:
        del call
        return text

    bench = loop_over(
        fleet,
        [called(path="a"), called(path="secret"), called(path="c"), says("Done.")],
        [LOOK],
        toolbox_rules=CallRules(permit, whole, timeout_s=10),
        hooks=Hooks(pre_tool=(Hook(guard, "guard"),)),
    )
    await bench.run()
    assert results(bench) == [
        ("look", "saw b", False),
        ("look", "not that one", True),
        ("look", "saw c", False),
    ]
    assert permitted == [("look", {"path": "b"}), ("look", {"path": "c"})]
    assert bench.seen(CallBegan)[0].call.arguments == {"path": "b"}
    recorded = [as_record(message) for message in bench.transcript() if message.role == "tool"]
    assert [record.get("ran_with") for record in recorded] == [{"path": "b"}, None, None]
    asked = [message.tool_calls[0].arguments for message in bench.transcript() if message.tool_calls]
    assert asked[0] == {"path": "a"}, "the model's own words stay"
    bench.check()


async def test_c7_pre_tool_rewrites_into_bad_arguments_are_caught(fleet: FleetProcess) -> None:
    async def spoil(call: ToolCall) -> ToolCall:
        return replace(call, arguments={"folder": "b"})

    bench = loop_over(fleet, [called(), says("Done.")], [LOOK], hooks=Hooks(pre_tool=(Hook(spoil, "spoil"),)))
    await bench.run()
    ((_, text, is_error),) = results(bench)
    assert is_error
    assert "bad arguments" in text


async def test_c7_post_tool_rewrites_the_result_of_what_ran(fleet: FleetProcess) -> None:
    async def mask(call: ToolCall, result: ToolResult) -> ToolResult | None:
        return replace(result, text=result.text.replace("a", "*")) if call.name == "look" else None

    bench = loop_over(
        fleet,
        [calls({"name": "look", "arguments": {"path": "a"}}, "note"), says("Done.")],
        [LOOK, NOTE],
        hooks=Hooks(post_tool=(Hook(mask, "mask"),)),
    )
    await bench.run()
    assert results(bench) == [("look", "s*w *", False), ("note", "noted nothing", False)]
    assert bench.sent()[1]["messages"][-2]["content"] == "s*w *"


@pytest.mark.parametrize("fail_open", [False, True])
async def test_c7_a_hook_that_fails_denies_unless_it_is_fail_open(
    fleet: FleetProcess, *, fail_open: bool
) -> None:
    async def broken(*seen: Any) -> None:
        raise ValueError("out of order")

    async def hangs(*seen: Any) -> None:
        await asyncio.sleep(600)

    hooks = Hooks(
        pre_tool=(Hook(broken, "before", tools=("look",), fail_open=fail_open),),
        post_tool=(Hook(hangs, "after", tools=("no*",), timeout_s=0.05, fail_open=fail_open),),
    )
    bench = loop_over(fleet, [called("look"), called("note"), says("Done.")], [LOOK, NOTE], hooks=hooks)
    await bench.run()
    looked, noted = results(bench)
    if fail_open:
        assert (looked, noted) == (("look", "saw a", False), ("note", "noted a", False))
    else:
        assert looked == ("look", "denied: the hook before failed: out of order", True)
        assert noted == ("note", "the result is withheld: the hook after did not finish within 0.05 s", True)
    assert [one.message for one in bench.seen(HookFailed)] == [
        "the hook before failed: out of order",
        "the hook after did not finish within 0.05 s",
    ]
    bench.check()


async def test_c7_stop_hooks_see_the_answer_and_may_send_the_model_on(fleet: FleetProcess) -> None:
    seen = []

    async def demand(answer: str) -> str | None:
        seen.append(answer)
        return "Say please." if "please" not in answer else None

    bench = loop_over(fleet, [says("Done."), says("Done, please.")], hooks=Hooks(stop=(Hook(demand, "d"),)))
    end = await bench.run()
    assert (end.text, seen) == ("Done, please.", ["Done.", "Done, please."])
    assert [one["content"] for one in bench.sent()[1]["messages"]][-2:] == ["Done.", "Say please."]
    assert [(one.message.text, one.origin) for one in bench.seen(Injected)] == [("Say please.", "hook")]


async def test_c7_a_stop_hook_that_never_yields_ends_at_the_step_budget(fleet: FleetProcess) -> None:
    async def never(answer: str) -> str:
        return f"More than {answer}"

    bench = loop_over(
        fleet,
        [says(f"Answer {n}.") for n in range(9)],
        hooks=Hooks(stop=(Hook(never, "never"),)),
        policy=AgentPolicy(max_steps=3),
    )
    end = await bench.run()
    assert (end.cause, len(bench.sent())) == ("max_steps", 3)
    assert end.text == "Answer 2."
    sent_back = "its last answer was sent back with: More than Answer 2."
    assert end.feedback == f"the attempt used up its 3 steps; {sent_back}; its last text: Answer 2."


async def test_d0_before_step_replaces_the_messages_from_then_on(fleet: FleetProcess) -> None:
    shown = []

    async def shorten(messages: tuple[Message, ...]) -> Sequence[Message] | None:
        shown.append([message.role for message in messages])
        return [*messages[:1], Message("user", "Another task.")] if len(shown) == 2 else None

    bench = loop_over(
        fleet, [called(), called(), says("Done.")], [LOOK], hooks=Hooks(before_step=(Hook(shorten, "s"),))
    )
    await bench.run()
    assert shown == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
        ["system", "user", "assistant", "tool"],
    ]
    second, third = bench.sent()[1:]
    assert [one["content"] for one in second["messages"]] == ["Use the tools.", "Another task."]
    assert [one["role"] for one in third["messages"]] == ["system", "user", "assistant", "tool"]
    assert third["messages"][1]["content"] == "Another task."
    assert [(one.messages, one.origin) for one in bench.seen(Replaced)] == [(2, "hook")]
    assert bench.kept[1].anew
    assert [message.text for message in bench.transcript()][1] == "Another task."
    bench.check()


async def test_d1_after_step_runs_once_results_are_in_and_after_the_last_step(fleet: FleetProcess) -> None:
    seen = []

    async def watch(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        del control
        seen.append((completion.text, messages[-1].role, faults(messages)))

    bench = loop_over(
        fleet, [called(), says("Done.")], [LOOK], hooks=Hooks(after_step=(Hook(watch, "watch"),))
    )
    await bench.run()
    assert seen == [("", "tool", []), ("Done.", "assistant", [])]


async def test_d2_after_step_appends_announced_and_persisted_and_is_repaired(fleet: FleetProcess) -> None:
    async def steer(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        if completion.tool_calls:
            lone = ToolCall("lone", "look", {"path": "x"}, "{}")
            control.append(Message("assistant", "I also looked.", tool_calls=(lone,)))
            control.append(Message("user", "Be brief."))

    bench = loop_over(
        fleet, [called(), says("Done.")], [LOOK], hooks=Hooks(after_step=(Hook(steer, "steer"),))
    )
    end = await bench.run()
    assert end.text == "Done."
    assert [one["role"] for one in bench.sent()[1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "user",
    ]
    assert {one.origin for one in bench.seen(Injected)} == {"hook"}
    whole = bench.transcript()
    assert faults(whole) == []
    assert [message.text for message in whole][-4:] == ["I also looked.", INTERRUPTED, "Be brief.", "Done."]
    bench.check()


async def test_d2_replace_and_stop(fleet: FleetProcess) -> None:
    async def steer(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        if len(messages) > 4:
            control.stop()
        else:
            control.replace([*messages[:2], Message("assistant", "So far."), Message("user", "On.")])

    bench = loop_over(
        fleet,
        [called(), calls({"name": "look", "arguments": {"path": "b"}}, text="Half.")],
        [LOOK],
        hooks=Hooks(after_step=(Hook(steer, "steer"),)),
    )
    end = await bench.run()
    assert (end.text, end.finish_reason, end.cause) == ("Half.", "stop", None)
    assert [one["content"] for one in bench.sent()[1]["messages"]][1:] == ["Do the task.", "So far.", "On."]
    assert [message.text for message in bench.transcript()][1:] == [
        "Do the task.",
        "So far.",
        "On.",
        "Half.",
        "saw b",
    ]


@pytest.mark.parametrize("adds", [True, False])
async def test_d2_continue_after_a_final_answer_sends_what_was_injected(
    fleet: FleetProcess, *, adds: bool
) -> None:
    async def critic(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        if completion.text == "Done.":
            if adds:
                control.append(Message("user", "And the tests?"))
            control.continue_()

    bench = loop_over(
        fleet, [says("Done."), says("They pass.")], hooks=Hooks(after_step=(Hook(critic, "c"),))
    )
    end = await bench.run()
    assert end.text == "They pass."
    assert bench.sent()[1]["messages"][-1]["content"] == ("And the tests?" if adds else GO_ON)


async def test_d2_what_is_appended_without_continue_is_in_the_log_and_the_answer_stands(
    fleet: FleetProcess,
) -> None:
    async def remark(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        control.append(Message("user", "Noted."))

    bench = loop_over(fleet, [says("Done.")], hooks=Hooks(after_step=(Hook(remark, "r"),)))
    end = await bench.run()
    assert end.text == "Done."
    assert [step.kind for step in bench.kept] == ["step", "injected"]
    assert bench.transcript()[-1].text == "Noted."


async def test_d2_generate_asks_a_second_model_within_budget_and_log(fleet: FleetProcess) -> None:
    heard, refused = [], []

    async def consult(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        if completion.tool_calls:
            heard.append((await control.generate("critic", [Message("user", "Good?")])).text)
            for name in ("nobody", "critic"):
                try:
                    await control.generate(name, [Message("user", "x" * 400_000)])
                except HyperguildError as error:
                    refused.append(str(error))

    bench = loop_over(
        fleet,
        [called(), says("Done.")],
        [LOOK],
        hooks=Hooks(after_step=(Hook(consult, "consult"),)),
        others={"critic": [says("It is.")]},
        price=Price(input=1.0, output=1.0),
        budget={"cost_left_usd": 0.05},
    )
    end = await bench.run()
    assert (end.text, heard) == ("Done.", ["It is."])
    assert refused == ["no model nobody", "the budget of the run does not allow asking critic"]
    (aside,) = bench.loop.asides
    assert (aside.model, aside.purpose) == ("critic", "hook")
    assert aside.usage.output_tokens > 0
    assert aside.cost_usd
    (kept,) = [step for step in bench.kept if step.kind == "aside"]
    assert (kept.model, [message.text for message in kept.messages]) == ("critic", ["Good?", "It is."])
    assert [step.position for step in bench.kept] == [0, 1, 2], "it took a step of the budget"
    assert faults(bench.transcript()) == []


@pytest.mark.parametrize("on_error", ["ignore", "abort"])
@pytest.mark.parametrize("kind", ["before_step", "after_step", "stop"])
async def test_d3_a_hook_that_fails_is_governed_by_policy_and_never_loses_the_step(
    fleet: FleetProcess, kind: str, on_error: Any
) -> None:
    calls_of_hook = []

    async def broken(*seen: Any) -> None:
        calls_of_hook.append(seen)
        if kind == "after_step":
            seen[-1].append(Message("user", "half done"))
        raise RuntimeError("it broke")

    hook = Hook(broken, "broken", on_error=on_error)
    hooks: dict[str, Any] = {kind: (hook,)}
    bench = loop_over(fleet, [says("Done.")], hooks=Hooks(**hooks))
    if on_error == "ignore":
        assert (await bench.run()).text == "Done."
    else:
        with pytest.raises(CommandError, match="the hook broken failed: it broke"):
            await bench.run()
    assert [one.message for one in bench.seen(HookFailed)] == ["the hook broken failed: it broke"]
    assert calls_of_hook
    expected = [] if (kind, on_error) == ("before_step", "abort") else ["Done."]
    assert [step.messages[-1].text for step in bench.kept] == expected


async def test_d3_a_hook_has_no_more_time_than_the_attempt(fleet: FleetProcess) -> None:
    async def hangs(*seen: Any) -> None:
        await asyncio.sleep(600)

    bench = loop_over(
        fleet,
        [says("Done.")],
        hooks=Hooks(after_step=(Hook(hangs, "hangs"),)),
        budget={"time_left_s": 1.5},
    )
    async with asyncio.timeout(20):
        assert (await bench.run()).text == "Done."
    assert bench.seen(HookFailed)


async def test_c9_a_call_for_the_caller_pauses_with_its_siblings_results_kept(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet,
        [calls({"name": "look", "arguments": {"path": "a"}}, "ask_user", "note")],
        [LOOK, NOTE],
        external=[ASK_USER],
    )
    end = await bench.run()
    assert [call.name for call in end.pending] == ["ask_user"]
    (step,) = bench.kept
    assert [call.name for call in step.pending] == ["ask_user"]
    assert [message.text for message in step.messages if message.role == "tool"] == ["saw a", "noted nothing"]
    assert {one["function"]["name"] for one in bench.sent()[0]["tools"]} == {"ask_user", "look", "note"}


async def test_c9_it_goes_on_when_the_results_are_handed_in(fleet: FleetProcess) -> None:
    first = loop_over(
        fleet, [calls("ask_user", {"name": "look", "arguments": {}})], [LOOK], external=[ASK_USER]
    )
    end = await first.run()
    (pending,) = end.pending
    kept = list(first.kept[0].messages)
    answer = Message.of_result(ToolResult(pending.id, "ask_user", "Yes."))
    resume = Resumption((*kept[:3], answer, *kept[3:]), 2, used_steps=1, usage=first.loop.usage)
    second = loop_over(fleet, [says("Then it is settled.")], [LOOK], external=[ASK_USER], resume=resume)
    assert (await second.run()).text == "Then it is settled."
    sent = second.sent()[0]["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [one["content"] for one in sent][-2:] == ["Yes.", "saw nothing"]
    assert [step.position for step in second.kept] == [1]
    assert not second.kept[0].anew
    assert second.loop.usage.output_tokens > first.loop.usage.output_tokens > 0


async def test_d1_after_step_sees_a_step_that_paused_once_its_results_are_in(fleet: FleetProcess) -> None:
    seen = []

    async def watch(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        seen.append(([call.name for call in completion.tool_calls], messages[-1].text))
        if completion.tool_calls:
            control.append(Message("user", "Believe it."))

    hooks = Hooks(after_step=(Hook(watch, "watch"),))
    first = loop_over(fleet, [calls("ask_user")], external=[ASK_USER], hooks=hooks)
    (pending,) = (await first.run()).pending
    assert seen == []
    answer = Message.of_result(ToolResult(pending.id, "ask_user", "Yes."))
    resume = Resumption((*first.kept[0].messages, answer), 2, used_steps=1, paused=True)
    second = loop_over(fleet, [says("Settled.")], external=[ASK_USER], hooks=hooks, resume=resume)
    assert (await second.run()).text == "Settled."
    assert seen == [(["ask_user"], "Yes."), ([], "Settled.")]
    assert second.sent()[0]["messages"][-1]["content"] == "Believe it."


async def test_h2_a_continued_attempt_draws_on_what_is_left_of_its_steps(fleet: FleetProcess) -> None:
    spent = Usage(input_tokens=50, output_tokens=5)
    resume = Resumption((*PROMPT, Message("assistant", "Half of")), 2, used_steps=2, usage=spent)
    bench = loop_over(fleet, [says(" it.")], policy=AgentPolicy(max_steps=3), resume=resume)
    end = await bench.run()
    assert end.text == "Half of it."
    assert bench.sent()[0]["messages"][-1]["content"] == CONTINUE
    assert bench.loop.usage.input_tokens > 50
    used_up = loop_over(
        fleet, [says("never")], policy=AgentPolicy(max_steps=3), resume=replace(resume, used_steps=3)
    )
    assert (await used_up.run()).cause == "max_steps"


@pytest.mark.parametrize("told_already", [True, False])
async def test_h2_b6_an_answer_that_was_being_continued_is_joined_again(
    fleet: FleetProcess, *, told_already: bool
) -> None:
    since = [Message("assistant", "One, "), Message("user", CONTINUE), Message("assistant", "two, ")]
    told = [Message("user", CONTINUE)] if told_already else []
    interrupted = Message("assistant", "", reasoning="what comes next?")
    resume = Resumption((*PROMPT, *since, *told, interrupted), 2, used_steps=3)
    bench = loop_over(fleet, [says("three.")], resume=resume)
    assert (await bench.run()).text == "One, two, three."
    sent = [one["content"] for one in bench.sent()[0]["messages"]]
    assert sent[2:] == ["One, ", CONTINUE, "two, ", CONTINUE]


async def test_h2_an_answer_that_was_whole_is_not_asked_for_again(fleet: FleetProcess) -> None:
    resume = Resumption((*PROMPT, Message("assistant", "It is 42.")), 2, used_steps=1, answered=True)
    bench = loop_over(fleet, [says("never")], resume=resume)
    assert (await bench.run()).text == "It is 42."
    assert bench.sent() == []


async def test_h1_an_interrupted_step_keeps_text_and_reasoning(fleet: FleetProcess) -> None:
    bench = loop_over(
        fleet,
        [says("One word after the other. ", reasoning="Let me think.", repeat=99, tokens_per_s=20)],
    )
    running = asyncio.create_task(bench.run())
    await bench.until(lambda: bool(bench.loop.text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    last = bench.kept[-1].messages[-1]
    assert last.text
    assert last.text == bench.loop.text
    assert last.reasoning == "Let me think."
    assert as_record(last)["reasoning"] == "Let me think."


async def test_h1_two_tools_that_were_interrupted_leave_a_transcript_to_go_on_with(
    fleet: FleetProcess,
) -> None:
    bench = loop_over(fleet, [calls("look", "slow", "slow")], [LOOK, SLOW])
    running = asyncio.create_task(bench.run())
    await bench.until(lambda: len(bench.seen(CallEnded)) == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    kept = bench.kept[0].messages
    assert faults(kept) == []
    assert [message.text for message in kept if message.role == "tool"] == [
        "saw nothing",
        INTERRUPTED,
        INTERRUPTED,
    ]
    again = loop_over(fleet, [says("Then without.")], [LOOK, SLOW], resume=Resumption(kept, 2, used_steps=1))
    assert (await again.run()).text == "Then without."


def gives(value: object) -> Any:
    """A hook of any kind that returns what it may not."""

    async def hook(*told: object) -> Any:
        del told
        return value

    return Hook(hook, "odd")


def does(what: str, *given: object) -> Any:
    async def hook(completion: Completion, messages: Sequence[Message], control: Control) -> None:
        del completion, messages
        getattr(control, what)(*given)

    return Hook(hook, "odd")


@pytest.mark.parametrize(
    "hooks",
    [
        Hooks(before_step=(gives(["look closer"]),)),
        Hooks(before_step=(gives([{"role": "user", "content": "look closer"}]),)),
        Hooks(before_step=(gives("look closer"),)),
        Hooks(before_step=(gives(5),)),
        Hooks(after_step=(does("append", "look closer"),)),
        Hooks(after_step=(does("append", Message("user", None)),)),  # type: ignore[arg-type]
        Hooks(after_step=(does("replace", ["look closer"]),)),
        Hooks(stop=(gives(True),)),
    ],
)
async def test_d3_a_hook_that_gives_what_it_may_not_has_failed(fleet: FleetProcess, hooks: Hooks) -> None:
    bench = loop_over(fleet, [called(), says("Done.")], [LOOK], hooks=hooks)
    assert (await bench.run()).text == "Done."
    assert bench.seen(HookFailed)[0].message.startswith("the hook odd failed: ")
    assert [message.text for message in bench.transcript()[2:]] == ["", "saw a", "Done."]


@pytest.mark.parametrize(
    "hooks",
    [
        Hooks(pre_tool=(gives(ToolCall("c", "look", "a", "")),)),  # type: ignore[arg-type]
        Hooks(pre_tool=(gives(ToolCall("c", "look", {"path": object()}, "")),)),
        Hooks(pre_tool=(gives(Denied(5)),)),  # type: ignore[arg-type]
        Hooks(pre_tool=(gives("no"),)),
        Hooks(post_tool=(gives(ToolResult("c", "look", 7)),)),  # type: ignore[arg-type]
        Hooks(post_tool=(gives("fine"),)),
    ],
)
async def test_c7_a_hook_that_gives_what_it_may_not_denies(fleet: FleetProcess, hooks: Hooks) -> None:
    bench = loop_over(fleet, [called(), says("Done.")], [LOOK], hooks=hooks)
    assert (await bench.run()).text == "Done."
    ((name, text, is_error),) = results(bench)
    assert (name, is_error, "the hook odd failed" in text) == ("look", True, True)
    bench.check()


async def test_h1_what_ran_is_kept_where_whoever_is_asked_fails(fleet: FleetProcess) -> None:
    async def permit(call: ToolCall, spec: ToolSpec) -> str | None:
        del spec
        if call.name == "look":
            raise RuntimeError("nobody can be asked any more")
        return None

    rules = CallRules(permit, whole, timeout_s=10)
    bench = loop_over(fleet, [calls("note", "look")], [LOOK, NOTE], toolbox_rules=rules)
    with pytest.raises(RuntimeError):
        await bench.run()
    told = [message.result for message in bench.transcript() if message.result is not None]
    assert [(one.name, one.text) for one in told] == [("note", "noted nothing"), ("look", INTERRUPTED)]
    bench.check()
