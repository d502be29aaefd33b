"""Turns at an endpoint, with real tasks that are cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import SWAP, local_model
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.adapters.wire.turns import Turns
from hyperguild.errors import QueueFullError

MODEL = local_model()


async def test_a_full_line_refuses_at_once_with_a_remedy() -> None:
    turns = Turns(replace(SWAP, max_concurrency=1, max_queue=1))
    async with turns.turn(MODEL):
        waiter = asyncio.create_task(_hold(turns))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as caught:
            async with turns.turn(MODEL):
                pytest.fail("there was no turn to be had")
    await waiter
    assert not caught.value.retryable
    assert caught.value.hint is not None
    assert "max_queue" in caught.value.hint
    assert (caught.value.model, caught.value.endpoint) == (MODEL.name, SWAP.name)


async def test_a_model_has_a_limit_of_its_own() -> None:
    turns = Turns(replace(SWAP, max_concurrency=4))
    small = local_model("small", max_concurrency=1)
    async with turns.turn(small), asyncio.timeout(10):
        second = asyncio.create_task(_hold(turns, small.name, 1))
        async with turns.turn(MODEL):
            await asyncio.sleep(0)
            assert not second.done()
    await second


async def _hold(turns: Turns, name: str = MODEL.name, limit: int | None = None) -> None:
    async with turns.turn(local_model(name, max_concurrency=limit)):
        await asyncio.sleep(0)


STEPS = st.lists(st.tuples(st.sampled_from(["join", "cancel", "pass"]), st.integers(0, 30)), max_size=60)


@given(st.integers(1, 3), STEPS)
def test_no_wake_up_is_lost_whoever_is_cancelled(limit: int, steps: Sequence[tuple[str, int]]) -> None:
    async def play() -> None:
        turns = Turns(replace(SWAP, max_concurrency=limit))
        inside = 0

        async def hold(times: int) -> None:
            nonlocal inside
            async with turns.turn(MODEL):
                inside += 1
                try:
                    assert inside <= limit
                    for _ in range(times):
                        await asyncio.sleep(0)
                finally:
                    inside -= 1

        tasks: list[asyncio.Task[None]] = []
        for what, number in steps:
            if what == "join":
                tasks.append(asyncio.create_task(hold(number % 4)))
            elif what == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            else:
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended)
            async with asyncio.TaskGroup() as group:  # all turns are there again
                for _ in range(limit * 2):
                    group.create_task(hold(1))

    asyncio.run(play())
