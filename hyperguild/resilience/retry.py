"""Transport retries inside one attempt: few, jittered, and short, because a next tier is waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import tenacity

from hyperguild.domain.chain import RetryPolicy
from hyperguild.errors import ModelError

BACKOFF_BASE_S = 0.25
"""First backoff, doubled each time. Short: a next tier is waiting, and a restart takes longer anyway."""


def retry_wait_s(
    error: ModelError, retried: int, policy: RetryPolicy, *, random_share: float, time_left_s: float
) -> float | None:
    """Return how long to wait before retry number `retried + 1`, in seconds, or None: do not retry.

    Full jitter: `random_share` (0 to 1) of the backoff. What the server asked for is a minimum; where that is
    more than `policy.wait_max_s`, or no time is left after it, there is no retry.
    """
    if not error.retryable or retried >= policy.retries:
        return None
    asked = error.retry_after_s or 0.0
    if asked > policy.wait_max_s:
        return None
    backoff = random_share * BACKOFF_BASE_S * 2.0**retried
    wait = min(max(asked, backoff), policy.wait_max_s)
    return wait if wait < time_left_s else None


def retrying(
    policy: RetryPolicy,
    *,
    random_share: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    time_left_s: Callable[[], float],
    on_retry: Callable[[ModelError], None],
) -> tenacity.AsyncRetrying:
    """Return a tenacity controller that applies `retry_wait_s`; the last error is raised as it is.

    `on_retry` gets the error that is about to be retried.
    """
    waits: list[float] = []

    def decide(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ModelError):
            return False
        retried = state.attempt_number - 1
        wait = retry_wait_s(error, retried, policy, random_share=random_share(), time_left_s=time_left_s())
        if wait is None:
            return False
        waits.append(wait)
        on_retry(error)
        return True

    return tenacity.AsyncRetrying(retry=decide, wait=lambda _: waits[-1], sleep=sleep, reraise=True)
