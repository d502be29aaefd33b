"""Transport retries inside one attempt: few, jittered, and short, because a next tier is waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import tenacity

from hyperguild.domain.chain import RetryPolicy
from hyperguild.errors import ConcurrencyLimitError, ModelError

BACKOFF_BASE_S = 0.25
"""First backoff, doubled each time. Short: a next tier is waiting, and a restart takes longer anyway."""

ROOM_EVERY_S = 1.0
"""How often a server that is at its own limit of requests is asked again where it names no time."""

ROOM_JITTER_S = 0.25
"""Those who wait for room do not all come back at once."""


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


def room_wait_s(
    error: ConcurrencyLimitError, policy: RetryPolicy, *, random_share: float, time_left_s: float
) -> float | None:
    """Return how long to wait for room at a server that is at its limit, or None: wait no longer.

    That is no retry: the request has not begun. `time_left_s` is what waiting for room may still take.
    """
    asked = ROOM_EVERY_S if error.retry_after_s is None else error.retry_after_s
    wait = max(asked, BACKOFF_BASE_S) + random_share * ROOM_JITTER_S
    return wait if asked <= policy.wait_max_s and wait < time_left_s else None


def retrying(
    policy: RetryPolicy,
    *,
    random_share: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    time_left_s: Callable[[], float],
    room_for_s: float,
    on_error: Callable[[ModelError, bool], bool],
) -> tenacity.AsyncRetrying:
    """Return a tenacity controller that applies these waits; the last error is raised as it is.

    `room_for_s` bounds all waits for room together. `on_error` gets every error, and whether it is about to
    be retried; it returns whether that may be.
    """
    waits: list[float] = []
    retried = 0
    room_left_s = room_for_s

    def wait_after(error: ModelError) -> float | None:
        nonlocal retried, room_left_s
        left_s, share = time_left_s(), random_share()
        if isinstance(error, ConcurrencyLimitError):
            wait = room_wait_s(error, policy, random_share=share, time_left_s=min(left_s, room_left_s))
            room_left_s -= wait or 0.0
            return wait
        wait = retry_wait_s(error, retried, policy, random_share=share, time_left_s=left_s)
        retried += 1
        return wait

    def decide(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ModelError):
            return False
        wait = wait_after(error)
        if not on_error(error, wait is not None) or wait is None:
            return False
        waits.append(wait)
        return True

    return tenacity.AsyncRetrying(retry=decide, wait=lambda _: waits[-1], sleep=sleep, reraise=True)
