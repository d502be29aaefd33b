"""When something that keeps failing is no longer asked, and when it is tried again. Pure: times are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]

RECENT_MAX = 20
"""So many outcomes are remembered for the share of failures."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    It opens on `failures` in a row, or on a `share` of failures among at least `share_of` requests; what is
    older than `window_s` does not count. Then nobody is let through for `open_s`, after each probe that
    failed for twice as long, up to `open_max_s`.
    """

    failures: int = 5
    share: float = 0.5
    share_of: int = 10
    window_s: float = 600.0
    open_s: float = 30.0
    open_max_s: float = 300.0


MODEL_POLICY = BreakerPolicy()
"""Five failures are more than one request with its retries: a model that crashed once is asked again by the
next run. 30 s is what a restart takes; after some minutes a person has looked at it."""

ENDPOINT_POLICY = BreakerPolicy(failures=3)
"""Who refuses one request and its two retries refuses the fourth: nothing listens there."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one breaker. All times are seconds of one wall clock, which may be set back.

    `failures` are those in a row, the last at `failed_at`; `openings` those without a success between.
    `since` it first opened, `opened_at` it last did: None, like `open_until`, while it is closed. `probing`:
    one request is trying it. `recent` holds time and success of the last requests.
    """

    failures: int = 0
    failed_at: float | None = None
    openings: int = 0
    since: float | None = None
    opened_at: float | None = None
    open_until: float | None = None
    probing: bool = False
    recent: tuple[tuple[float, bool], ...] = ()

    def state(self, now: float) -> BreakerState:
        """Return `open` while nobody may ask, `half_open` from then on until one request went well."""
        if self.opened_at is None or self.open_until is None:
            return "closed"
        # A clock that was set back must not keep it open for longer than was meant.
        return "open" if self.opened_at <= now < self.open_until else "half_open"

    def admits(self, now: float) -> bool:
        """Tell whether a request may go out now."""
        state = self.state(now)
        return state == "closed" or (state == "half_open" and not self.probing)

    def entered(self, now: float) -> Breaker:
        """Return the breaker once a request that it admits has gone out: half open, that is its one probe."""
        return replace(self, probing=True) if self.state(now) == "half_open" else self

    def left(self) -> Breaker:
        """Return the breaker once its probe has ended, whatever that came to."""
        return replace(self, probing=False)

    def succeeded(self, now: float, policy: BreakerPolicy, *, probe: bool) -> Breaker:
        """Return the breaker after a request that went well; one that opened is closed by its probe alone."""
        if self.open_until is not None and not probe:
            return self
        return Breaker(recent=() if probe else self._remembered(now, policy, success=True))

    def failed(self, now: float, policy: BreakerPolicy, *, probe: bool) -> Breaker:
        """Return the breaker after a request that failed; failures of older requests do not keep it open."""
        if self.open_until is not None:
            return _opened(self, now, policy) if probe else self
        fresh = self.failed_at is not None and now - self.failed_at <= policy.window_s
        recent = self._remembered(now, policy, success=False)
        failures = self.failures + 1 if fresh else 1
        counted = replace(self, failures=failures, failed_at=now, recent=recent)
        bad = sum(1 for _, success in recent if not success)
        too_many = len(recent) >= policy.share_of and bad >= policy.share * len(recent)
        return _opened(counted, now, policy) if failures >= policy.failures or too_many else counted

    def rested(self, now: float, for_s: float) -> Breaker:
        """Return the breaker open for as long as the server asked to be left alone; no shorter than it is."""
        if self.open_until is not None and self.state(now) == "open":  # others were told the same
            return replace(self, open_until=max(now + for_s, self.open_until))
        return _open(self, now, now + for_s)

    def due(self, now: float) -> Breaker:
        """Return the breaker half open, if it is open: the next request tries."""
        return replace(self, open_until=now) if self.state(now) == "open" else self

    def _remembered(
        self, now: float, policy: BreakerPolicy, *, success: bool
    ) -> tuple[tuple[float, bool], ...]:
        recent = [one for one in self.recent if abs(now - one[0]) <= policy.window_s]
        return (*recent[1 - RECENT_MAX :], (now, success))


def _opened(breaker: Breaker, now: float, policy: BreakerPolicy) -> Breaker:
    open_s = min(policy.open_s * 2.0 ** min(breaker.openings, 30), policy.open_max_s)
    return _open(breaker, now, now + open_s)


def _open(breaker: Breaker, now: float, until: float) -> Breaker:
    return Breaker(
        # One that fails in the closed state has been counted.
        failures=breaker.failures if breaker.open_until is None else breaker.failures + 1,
        failed_at=now,
        openings=breaker.openings + 1,
        since=now if breaker.since is None else breaker.since,
        opened_at=now,
        open_until=until,
    )
