"""What becomes of a loop whose next call a limit does not allow."""

from __future__ import annotations

from agent.looping import calls, loop_over, says, tool

from hyperguild.adapters.clock import SystemClock
from hyperguild.agent.hooks import Control, Hook, Hooks
from hyperguild.bootstrap import system_ids
from hyperguild.domain.limits import Standing
from hyperguild.domain.messages import Completion, Message
from hyperguild.errors import HyperguildError
from hyperguild.orchestration.metering import Payer, RunMeter
from hyperguild.resilience.budget import Account
from hyperguild.simulation.process import FleetProcess

USED = {"usage": {"input_tokens": 1000, "output_tokens": 500}}
REFUSED = "the run's limit of 3000 tokens: "


async def look() -> str:
    return "nothing here"


LOOK = tool(look)


def meter(tokens: int = 3000) -> tuple[RunMeter, Account]:
    account = Account([Standing("run", "tokens", tokens)])
    return RunMeter(Payer("r", "s"), (account,), None, system_ids(SystemClock())), account


async def test_a_step_that_a_limit_refuses_ends_the_attempt_and_nothing_is_sent(fleet: FleetProcess) -> None:
    metered, account = meter()
    steps = [calls("look", **USED) for _ in range(9)]
    bench = loop_over(fleet, steps, [LOOK], max_output_tokens=600, meter=metered)
    end = await bench.run()
    assert (end.cause, len(bench.sent())) == ("budget", 2)
    assert end.feedback.startswith(f"{REFUSED}0 left, this call may use up to ")
    assert account.standings[0].spent == bench.loop.usage.tokens == 3000
    assert account.standings[0].reserved == 0
    assert len(metered.refusals) == 1
    bench.check()


async def test_an_answer_whose_rest_is_refused_is_cut_off_and_no_less(fleet: FleetProcess) -> None:
    metered, _ = meter()
    half = says("Half of it, ", finish_reason="length", usage={"input_tokens": 2000, "output_tokens": 900})
    bench = loop_over(fleet, [half, says("and the rest.")], max_output_tokens=600, meter=metered)
    end = await bench.run()
    assert (end.text, end.finish_reason, end.cause) == ("Half of it, ", "length", None)


async def test_each_try_of_a_call_is_settled_for_itself(fleet: FleetProcess) -> None:
    metered, account = meter()
    fails = {"error": {"status": 500, "message": "it fell over"}, "times": 1}
    bench = loop_over(fleet, [fails, says("Done.", **USED)], max_output_tokens=2500, meter=metered)
    assert (await bench.run()).text == "Done."
    (standing,) = account.standings
    assert (standing.spent, standing.reserved, len(bench.sent())) == (1500, 0, 2)


async def test_a_hook_is_told_that_a_limit_does_not_allow_it(fleet: FleetProcess) -> None:
    said = []

    async def consult(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        try:
            await control.generate("critic", [Message("user", "Good?")])
        except HyperguildError as error:
            said.append(error.message)

    metered, _ = meter()
    bench = loop_over(
        fleet,
        [says("Done.", usage={"input_tokens": 2900, "output_tokens": 10})],
        hooks=Hooks(after_step=(Hook(consult, "consult"),)),
        others={"critic": [says("It is.")]},
        max_output_tokens=600,
        meter=metered,
    )
    assert (await bench.run()).text == "Done."
    assert [one.startswith(f"{REFUSED}90 left") for one in said] == [True]
    assert len(bench.sent()) == 1
