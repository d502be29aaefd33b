"""The agent loop under random hooks: whatever they do, the transcript stays whole and within its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agent.looping import PROMPT
from agent.scripted import in_jumping_time, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_loop_property import TOOLS, Case, cases

from hyperguild.agent.hooks import Control, Denied, Hook, Hooks
from hyperguild.agent.terms import LoopEnd
from hyperguild.agent.transcript import faults
from hyperguild.domain.messages import Completion, Message, ModelRequest
from hyperguild.domain.tools import ToolCall, ToolResult, ToolSpec

EXTERNAL = ToolSpec("look", "Look.", {"type": "object"}, "read", source="caller", external=True)
OURS = tuple(one for one in TOOLS if one.spec.name != "look")
LONE_CALL = Message("assistant", "", tool_calls=(ToolCall("a", "look", {}, "{}"), ToolCall("", "look", None)))
LONE_RESULT = Message.of_result(ToolResult("nobody", "look", "saw"))

Deed = str
TOOL_DEEDS = ["nothing", "change", "deny", "raise", "hang"]
STEP_DEEDS = ["nothing", "append", "lone call", "lone result", "drop", "empty", "anew", "raise", "hang"]
ENDINGS = ["", "stop", "continue", "generate"]


async def happen(deed: Deed) -> None:
    if deed == "raise":
        raise RuntimeError("a hook broke")
    if deed == "hang":
        await asyncio.sleep(10_000)


class Actor:
    """Hooks that do what was drawn for them, in turn, the last one for ever."""

    def __init__(self, drawn: dict[str, Any]) -> None:
        self._drawn = drawn
        self._turns: dict[str, int] = {}

    def _next(self, kind: str) -> Any:
        deeds: Sequence[Any] = self._drawn[kind]
        turn = self._turns[kind] = self._turns.get(kind, -1) + 1
        return deeds[min(turn, len(deeds) - 1)]

    async def pre_tool(self, call: ToolCall) -> ToolCall | Denied | None:
        deed = self._next("pre_tool")
        await happen(deed)
        if deed == "deny":
            return Denied("no")
        return replace(call, arguments={"path": "other"}, name="nobody", id="") if deed == "change" else None

    async def post_tool(self, call: ToolCall, result: ToolResult) -> ToolResult | None:
        deed = self._next("post_tool")
        await happen(deed)
        return replace(result, text="\ud800", call_id="x") if deed in {"change", "deny"} else None

    async def before_step(self, messages: tuple[Message, ...]) -> Sequence[Message] | None:
        deed = self._next("before_step")
        await happen(deed)
        return changed(deed, messages)

    async def after_step(
        self, completion: Completion, messages: tuple[Message, ...], control: Control
    ) -> None:
        del completion
        deed, ending = self._next("after_step")
        if deed == "append":
            control.append(Message("user", "And?"))
        elif deed in {"lone call", "lone result"}:
            control.append(LONE_CALL if deed == "lone call" else LONE_RESULT)
        elif (replaced := changed(deed, messages)) is not None:
            control.replace(replaced)
        if ending == "generate":
            await control.generate("m", [Message("user", "What now?")])
        elif ending:
            control.stop() if ending == "stop" else control.continue_()
        await happen(deed)

    async def stop(self, answer: str) -> str | None:
        deed = self._next("stop")
        await happen(deed)
        return f"More than {answer[:9]}" if deed == "append" else None


def changed(deed: Deed, messages: tuple[Message, ...]) -> Sequence[Message] | None:
    match deed:
        case "drop":
            return messages[:-1]
        case "empty":
            return []
        case "anew":
            return [Message("user", "Something else."), LONE_CALL, LONE_RESULT, LONE_CALL]
        case "lone call" | "lone result":
            return [*messages, LONE_CALL if deed == "lone call" else LONE_RESULT]
        case _:
            return None


tool_deeds = st.lists(st.sampled_from(TOOL_DEEDS), min_size=1, max_size=4)
step_deeds = st.lists(st.sampled_from(STEP_DEEDS), min_size=1, max_size=4)
deeds = st.fixed_dictionaries(
    {
        "pre_tool": tool_deeds,
        "post_tool": tool_deeds,
        "before_step": step_deeds,
        "after_step": st.lists(
            st.tuples(st.sampled_from(STEP_DEEDS), st.sampled_from(ENDINGS)), min_size=1, max_size=4
        ),
        "stop": step_deeds,
        "terms": st.fixed_dictionaries(
            {"fail_open": st.booleans(), "on_error": st.sampled_from(["ignore", "abort"])}
        ),
    }
)


def hooked(drawn: dict[str, Any], acts: dict[str, Any]) -> Case:
    """Run the case with the hooks; every request is looked at as it is made."""

    async def work() -> Case:
        actor, terms = Actor(acts), acts["terms"]
        hooks = Hooks(
            pre_tool=(Hook(actor.pre_tool, "pre", **terms),),
            post_tool=(Hook(actor.post_tool, "post", **terms),),
            before_step=(Hook(actor.before_step, "before", **terms),),
            after_step=(Hook(actor.after_step, "after", **terms),),
            stop=(Hook(actor.stop, "stop", **terms),),
        )
        bench = scripted(
            drawn["turns"],
            OURS,
            summaries=drawn["summaries"],
            policy=drawn["policy"],
            budget=drawn["budget"],
            hooks=hooks,
            external=[EXTERNAL],
            **drawn["model"],
        )

        def inspect(request: ModelRequest) -> None:
            assert faults(request.messages) == []
            assert request.messages

        bench.model.inspect = inspect
        case = Case(bench, drawn["budget"]["time_left_s"], drawn["policy"].max_steps, drawn["moments"])
        await case.run()
        return case

    return in_jumping_time(work)


@settings(max_examples=150)
@given(cases(), deeds)
def test_a1_and_a2_hold_whatever_hooks_do(drawn: dict[str, Any], acts: dict[str, Any]) -> None:
    case = hooked(drawn, acts)
    bench, end = case.bench, case.end
    kept = bench.transcript()
    pending = end.pending if isinstance(end, LoopEnd) else ()
    answered = [*kept, *(Message.of_result(ToolResult(call.id, call.name, "")) for call in pending)]
    if not pending:
        assert faults(kept) == []
    else:
        results = {message.result.call_id for message in answered if message.result is not None}
        assert {call.id for message in kept for call in message.tool_calls} <= results
    assert bench.calls_made <= case.max_steps
    assert [step.position for step in bench.kept if step.kind != "injected"] == sorted(
        {step.position for step in bench.kept if step.kind != "injected"}
    )
    assert kept[: len(PROMPT)] or not bench.model.requests
    if isinstance(end, LoopEnd):
        assert bool(end.cause) == bool(end.feedback)
