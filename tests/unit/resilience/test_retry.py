"""When a failed request is sent again, and after how long."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.chain import RetryPolicy
from hyperguild.errors import AuthError, ConcurrencyLimitError, ConnectError, ModelError, RateLimitError
from hyperguild.resilience.retry import BACKOFF_BASE_S, retry_wait_s, retrying, room_wait_s

POLICY = RetryPolicy(retries=2, wait_max_s=5)


def wait_s(error: ModelError, retried: int, policy: RetryPolicy, share: float) -> float | None:
    return retry_wait_s(error, retried, policy, random_share=share, time_left_s=1000)


def test_backoff_doubles_and_is_jittered() -> None:
    error = ConnectError("refused")
    assert wait_s(error, 0, POLICY, 1.0) == BACKOFF_BASE_S
    assert wait_s(error, 1, POLICY, 1.0) == 2 * BACKOFF_BASE_S
    assert wait_s(error, 1, POLICY, 0.0) == 0
    assert wait_s(error, 2, POLICY, 1.0) is None


def test_what_cannot_get_better_is_not_tried_again() -> None:
    assert wait_s(AuthError("no key"), 0, POLICY, 1.0) is None


@pytest.mark.parametrize(("asked", "wait"), [(1.0, 1.0), (5.0, 5.0), (5.1, None), (0.0, BACKOFF_BASE_S)])
def test_retry_after_is_a_minimum_up_to_the_longest_wait(asked: float, wait: float | None) -> None:
    assert wait_s(RateLimitError("x", retry_after_s=asked), 0, POLICY, 1.0) == wait


@given(st.floats(0, 100), st.integers(0, 10), st.integers(0, 10), st.floats(0, 60), st.floats(0, 1))
def test_waits_are_bounded(asked: float, retried: int, retries: int, longest: float, share: float) -> None:
    policy = RetryPolicy(retries, longest)
    wait = wait_s(RateLimitError("x", retry_after_s=asked), retried, policy, share)
    if wait is not None:
        assert retried < retries
        assert asked <= wait <= longest


def test_no_wait_outlasts_the_time_that_is_left() -> None:
    error = RateLimitError("x", retry_after_s=3)
    assert retry_wait_s(error, 0, POLICY, random_share=1, time_left_s=3) is None
    assert retry_wait_s(error, 0, POLICY, random_share=1, time_left_s=3.1) == 3


LIMIT = ConcurrencyLimitError("at its limit", status=429, retry_after_s=1)


@pytest.mark.parametrize(("asked", "wait"), [(1.0, 1.0), (None, 1.0), (0.0, BACKOFF_BASE_S), (5.1, None)])
def test_room_is_waited_for_as_the_server_says(asked: float | None, wait: float | None) -> None:
    error = ConcurrencyLimitError("x", retry_after_s=asked)
    assert room_wait_s(error, POLICY, random_share=0.0, time_left_s=100) == wait


async def tried(errors: Sequence[ModelError], policy: RetryPolicy, room_for_s: float) -> list[float]:
    """Meet these errors, one a try; return the waits between. What is left of them at the end is raised."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    controller = retrying(
        policy,
        random_share=lambda: 0.0,
        sleep=sleep,
        time_left_s=lambda: 1000.0,
        room_for_s=room_for_s,
        on_error=lambda _error, may_retry: may_retry,
    )
    left = list(errors)
    with contextlib.suppress(ModelError):
        async for attempt in controller:
            with attempt:
                if left:
                    raise left.pop(0)
    assert not left
    return waits


async def test_waits_for_room_are_no_retries_and_are_bounded_together() -> None:
    once = RetryPolicy(retries=1, wait_max_s=5)
    assert await tried([LIMIT, LIMIT, ConnectError("x"), LIMIT], once, 10) == [1, 1, 0, 1]
    assert await tried([LIMIT] * 4, once, 3.5) == [1, 1, 1]


async def test_nothing_is_sent_again_where_the_breaker_says_no() -> None:
    asked: list[bool] = []

    def refuse(error: ModelError, may_retry: bool) -> bool:
        assert isinstance(error, ConnectError)
        asked.append(may_retry)
        return False

    async def sleep(seconds: float) -> None:
        pytest.fail(f"slept for {seconds} s")

    controller = retrying(
        POLICY,
        random_share=lambda: 0.0,
        sleep=sleep,
        time_left_s=lambda: 1000.0,
        room_for_s=0.0,
        on_error=refuse,
    )

    async def refused() -> None:
        raise ConnectError("refused")

    with pytest.raises(ConnectError):
        await controller(refused)
    assert asked == [True]
