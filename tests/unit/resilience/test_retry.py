"""When a failed request is sent again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.chain import RetryPolicy
from hyperguild.errors import AuthError, ConnectError, ModelError, RateLimitError
from hyperguild.resilience.retry import BACKOFF_BASE_S, retry_wait_s

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
