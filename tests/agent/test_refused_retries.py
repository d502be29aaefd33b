"""Where retries, breakers, limits and steps meet: a retry that is refused, a wait for room."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from agent.looping import tool
from agent.scripted import LoopClock, NoProbe, ScriptedModel, Turn, in_jumping_time, scripted

from hyperguild.adapters.clock import SystemClock
from hyperguild.agent.watch import StepBegan
from hyperguild.bootstrap import system_ids
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Endpoint, Model, RetryPolicy, TimeLimits
from hyperguild.domain.limits import Standing
from hyperguild.domain.messages import Completion, Finish, Message, ModelRequest, TextDelta, ToolCallDelta
from hyperguild.domain.messages import UsageReport as Report
from hyperguild.domain.usage import Usage
from hyperguild.errors import (
    BudgetRefusedError,
    ConcurrencyLimitError,
    ModelError,
    RateLimitError,
    ServerError,
)
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import Reset
from hyperguild.orchestration.metering import Payer, RunMeter
from hyperguild.resilience.budget import Account

MODEL = Model("m", Endpoint("e", "openai", "http://localhost"), "m", "local", max_output_tokens=600)
NO_ROOM = ConcurrencyLimitError("at its limit", status=429, retry_after_s=1)


def costly(error: ModelError) -> Turn:
    """A try that fails late: it has used nearly all that there is."""
    return (Report(Usage(input_tokens=900, output_tokens=50)), error)


def asked(turns: Sequence[Turn], tokens: int = 1000) -> tuple[ModelCaller, ScriptedModel, Account, RunMeter]:
    account = Account([Standing("run", "tokens", tokens)])
    meter = RunMeter(Payer("r", "s"), (account,), None, system_ids(SystemClock()))
    client = ScriptedModel(turns)
    return (
        ModelCaller({"e": client}, NoProbe(), LoopClock(), lambda: 0.5).metered(meter),
        client,
        account,
        meter,
    )


async def completed(caller: ModelCaller) -> Completion:
    return await caller.complete(
        ModelRequest(MODEL, (Message("user", "Do it."),)),
        TimeLimits(),
        retry=RetryPolicy(),
        warm_state=None,
        observe=lambda _: None,
    )


def test_a_retry_that_a_limit_refuses_leaves_the_error_that_called_for_it() -> None:
    caller, client, account, meter = asked([costly(ServerError("it fell over", status=500))])
    with pytest.raises(ServerError):
        in_jumping_time(lambda: completed(caller))
    assert (len(client.requests), account.standings[0].spent, account.standings[0].reserved) == (1, 950, 0)
    assert len(meter.refusals) == 1
    assert caller.breakers.refusal(MODEL) is None


def test_a_server_that_asked_to_be_left_alone_is_even_where_a_limit_refused_the_retry() -> None:
    caller, _, _, _ = asked([costly(RateLimitError("too many", status=429))])

    async def refusal() -> str | None:
        with pytest.raises(RateLimitError):
            await completed(caller)
        return caller.breakers.refusal(MODEL)

    assert in_jumping_time(refusal) is not None


def test_a_first_call_that_is_refused_stays_refused_and_says_nothing_of_the_server() -> None:
    caller, client, _, _ = asked([], tokens=100)
    with pytest.raises(BudgetRefusedError):
        in_jumping_time(lambda: completed(caller))
    assert (client.requests, caller.breakers.refusal(MODEL)) == ([], None)


def test_to_wait_for_room_takes_no_step() -> None:
    async def look() -> str:
        return "seen"

    calls = (ToolCallDelta(0, "c", "look", "{}"), Finish("tool_calls"))
    turns: list[Turn] = [(NO_ROOM,), (NO_ROOM,), (NO_ROOM,), calls, (TextDelta("Done."), Finish("stop"))]
    bench = scripted(turns, [tool(look)], policy=AgentPolicy(max_steps=2, two_stage="never"))
    assert in_jumping_time(bench.run).text == "Done."
    assert (len(bench.seen(Reset)), len(bench.seen(StepBegan))) == (3, 2)
