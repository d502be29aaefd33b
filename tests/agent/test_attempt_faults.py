"""What the record of an attempt with several steps says: of its last answer, its first token, its calls."""

from __future__ import annotations

from collections.abc import Sequence

from agent.looping import PROMPT, FunctionTool, allow, tool, whole
from agent.scripted import LoopClock, NoProbe, Pause, ScriptedModel, Turn, in_jumping_time
from builders import local_model, tier

from hyperguild.adapters.clock import SystemClock
from hyperguild.agent.terms import LoopEnd, LoopTools
from hyperguild.agent.toolbox import CallRules, Toolbox
from hyperguild.bootstrap import system_ids
from hyperguild.domain.events import Event
from hyperguild.domain.messages import Finish, TextDelta, ToolCallDelta
from hyperguild.domain.records import Attempt, Step
from hyperguild.errors import BadRequestError, ConnectError
from hyperguild.inference.call import ModelCaller
from hyperguild.orchestration.attempt import AttemptUnderWay
from hyperguild.orchestration.attempt_terms import AttemptPlan
from hyperguild.orchestration.emitter import Emitter
from hyperguild.verification.verifier import Verifier


class Sink:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


async def look(path: str = "") -> str:
    return f"saw {path}"


async def submit(path: str = "") -> str:
    return f"submitted {path}"


LOOK, SUBMIT = tool(look), tool(submit, stop_after=True)


def called(name: str) -> Turn:
    return (Pause(1), ToolCallDelta(0, "c", name, "{}"), Finish("tool_calls"))


def attempted(turns: Sequence[Turn], tools: Sequence[FunctionTool]) -> Attempt:
    async def work() -> Attempt:
        clock, ids = LoopClock(), system_ids(SystemClock())
        model = local_model(context_window=None)
        caller = ModelCaller({model.endpoint.name: ScriptedModel(turns)}, NoProbe(), clock, lambda: 0.0)
        toolbox = Toolbox(tools, CallRules(allow, whole, 10.0), clock)
        plan = AttemptPlan("a", tier(0, model, verify=False), PROMPT, "", "", None, None, None, None)
        emitter = Emitter(Sink(), clock, session_id="s", run_id="r")

        async def keep(step: Step) -> None:
            del step

        under_way = AttemptUnderWay(plan, emitter, LoopTools(caller, toolbox, clock, ids), keep)
        ended = await under_way.generate()
        if isinstance(ended, LoopEnd):
            ended = await under_way.verify(Verifier(caller, ids), ended)
        assert isinstance(ended, Attempt)
        return ended

    return in_jumping_time(work)


def test_c10_an_attempt_that_a_tool_ended_is_finished() -> None:
    attempt = attempted([called("submit")], [SUBMIT])
    assert (attempt.verdict, attempt.answer, attempt.finish_reason) == ("accept", "submitted ", "stop")


def test_a_step_that_fails_has_not_the_finish_reason_of_the_one_before() -> None:
    attempt = attempted([called("look"), (BadRequestError("no"),)], [LOOK])
    assert (attempt.cause, attempt.finish_reason) == ("bad_request", None)


def test_a_retry_in_a_later_step_leaves_the_first_token_where_it_was() -> None:
    slow = (Pause(20), TextDelta("Done."), Finish("stop"))
    attempt = attempted([called("look"), (ConnectError("gone"),), slow], [LOOK])
    assert (attempt.answer, attempt.retries, attempt.first_token_ms) == ("Done.", 1, 1000)


def test_a_call_that_did_not_come_is_not_told_as_one_without_tools() -> None:
    said = [(TextDelta("I will look."), Finish("tool_calls"))]
    assert "no call came" in attempted(said, [LOOK]).feedback
    assert "there are no tools" in attempted(said, []).feedback
