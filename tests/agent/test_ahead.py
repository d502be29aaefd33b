"""The next step, asked for on results that tools have offered, in a loop whose time jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from agent.looping import tool
from agent.scripted import Pause, Scripted, Turn, in_jumping_time, scripted

from hyperguild.agent.ahead import AheadEnded
from hyperguild.agent.terms import LoopEnd
from hyperguild.domain.messages import Finish, TextDelta, ToolCallDelta, UsageReport
from hyperguild.domain.tools import ToolSpec
from hyperguild.domain.usage import Usage
from hyperguild.errors import ServerError
from hyperguild.ports import ToolContext

WORKS_S = THINKS_S = 1.0


async def look(path: str = "") -> str:
    """Give what the tests look for."""
    return path


@dataclass(frozen=True)
class Offering:
    """A tool that offers at once, and is certain a second later."""

    offers: Sequence[str]
    brings: str
    spec: ToolSpec = tool(look).spec

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        del arguments
        for text in self.offers:
            context.offer(text)
        await asyncio.sleep(WORKS_S)
        asyncio.get_running_loop().call_later(0.5, context.offer, "too late")
        return self.brings


USED = UsageReport(Usage(input_tokens=10, output_tokens=2))
ASKS: Turn = (Pause(THINKS_S), ToolCallDelta(0, "c", "look", "{}"), USED, Finish("tool_calls"))
ANSWERS: Turn = (USED, Pause(THINKS_S), TextDelta("the answer is 42"), Finish("stop"))


def run_it(
    offering: Offering, turns: Sequence[Turn], *, ahead: bool = True
) -> tuple[Scripted, LoopEnd, float]:
    run = scripted(turns, [offering], ahead=ahead)  # type: ignore[list-item]

    async def timed() -> tuple[LoopEnd, float]:
        loop = asyncio.get_running_loop()
        end = await run.run()
        assert len(asyncio.all_tasks()) == 1
        return end, loop.time()

    return run, *in_jumping_time(timed)


def test_i3_an_offer_that_comes_true_saves_the_wait() -> None:
    run, end, took_s = run_it(Offering(["seen"], "seen"), [ASKS, ANSWERS])
    plain, same, slow_s = run_it(Offering(["seen"], "seen"), [ASKS, ANSWERS], ahead=False)
    assert end == same
    assert took_s == pytest.approx(2.0)
    assert slow_s == pytest.approx(3.0)
    assert [one.outcome for one in run.seen(AheadEnded)] == ["hit"]
    assert len(run.model.requests) == 2
    assert run.loop.usage == plain.loop.usage
    assert run.loop.asides == ()
    assert run.transcript()[-1] == plain.transcript()[-1]


def test_i3_an_offer_that_does_not_come_true_is_dropped_and_counted() -> None:
    run, end, took_s = run_it(Offering(["seen"], "another"), [ASKS, ANSWERS, ANSWERS])
    assert end.text == "the answer is 42"
    assert took_s == pytest.approx(3.0)
    assert [message.text for message in run.model.requests[-1].messages][-1] == "another"
    (ended,) = run.seen(AheadEnded)
    assert (ended.outcome, ended.wasted) == ("miss", USED.usage)
    (use,) = run.loop.asides
    assert (use.purpose, use.usage) == ("speculation", USED.usage)
    assert run.loop.usage == USED.usage + USED.usage


def test_i3_duplicate_and_late_offers_change_nothing() -> None:
    run, end, took_s = run_it(Offering(["seen", "seen", "not"], "seen"), [ASKS, ANSWERS])
    assert end.text == "the answer is 42"
    assert took_s == pytest.approx(2.0)
    assert len(run.model.requests) == 2
    run, _, _ = run_it(Offering([], "seen"), [ASKS, ANSWERS])
    assert run.seen(AheadEnded) == []


def test_i3_an_error_of_what_was_asked_ahead_is_never_the_users() -> None:
    run, end, took_s = run_it(Offering(["seen"], "seen"), [ASKS, (ServerError("boom"),), ANSWERS])
    assert end.text == "the answer is 42"
    assert took_s == pytest.approx(3.0)
    assert [one.outcome for one in run.seen(AheadEnded)] == ["failed"]


def test_a4_cancelling_stops_what_was_asked_ahead() -> None:
    run = scripted([ASKS, ANSWERS], [Offering(["seen"], "seen")], ahead=True)  # type: ignore[list-item]

    async def cancelled() -> None:
        task = asyncio.create_task(run.run())
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    in_jumping_time(cancelled)
    assert [one.outcome for one in run.seen(AheadEnded)] == ["miss"]
