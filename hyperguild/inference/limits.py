"""The time limits of one call, as a small state machine: which limit holds now, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyperguild.domain.chain import TimeLimits
from hyperguild.errors import ModelTimeoutError

Phase = Literal["queued", "suspected", "loading", "first_token", "streaming"]
"""Where a call is. `suspected`: nobody knows whether the model is loaded, so it gets the time to load."""


@dataclass(slots=True)
class CallTimer:
    """Times one try of one call. All times are seconds of one monotonic clock.

    Queued (our own turn is waited for) → suspected or loading, where the model is not known to be ready →
    first token → streaming; each phase has its own limit. Where the model is asked for ahead of the request
    (`asked_at`), it is loaded first, and the request may have to queue after that. `total_ends_at` bounds all
    tries together.
    """

    limits: TimeLimits
    started_at: float
    total_ends_at: float
    phase: Phase = "queued"
    phase_began_at: float = 0.0
    asked_at: float | None = None
    sent_at: float | None = None
    loaded_at: float | None = None

    def sent(self, now: float) -> None:
        """Note that the request went out: from now on the time is the server's."""
        self.sent_at = now
        self._enter("first_token", now)

    def suspect(self, now: float) -> None:
        """Note that nobody knows whether the model is ready."""
        self._enter("suspected", now)

    def load(self, now: float) -> None:
        """Note that the model is being loaded.

        For a request that is out, it has been since then; one that still waits sees the load begin.
        """
        if self.sent_at is None:
            self.asked_at = now
        self._enter("loading", now)

    def ready(self, now: float) -> None:
        """Note that the model is ready; a first token has the whole of its limit once the request is out."""
        if self.phase == "loading":
            self.loaded_at = now
        self._enter("queued" if self.sent_at is None else "first_token", now)

    def token(self, now: float) -> None:
        """Note that text or reasoning came."""
        self._enter("streaming", now)

    def alive(self, now: float) -> None:
        """Note a ping: it counts against silence, but it is no first token."""
        if self.phase == "streaming":
            self.phase_began_at = now

    def ends_at(self) -> float:
        """Return when the limit that holds now is reached."""
        phase_limits = {
            "suspected": self.limits.load_s,
            "loading": self.limits.load_s,
            "first_token": self.limits.first_token_s,
            "streaming": self.limits.silence_s,
        }
        limit = phase_limits.get(self.phase)
        return self.total_ends_at if limit is None else min(self.phase_began_at + limit, self.total_ends_at)

    def waited_ms(self, now: float) -> int:
        """Return the time since the model was asked for or, later, was loaded and had the request."""
        marks = (self.started_at, self.asked_at, self.sent_at, self.loaded_at)
        return round((now - max(mark for mark in marks if mark is not None)) * 1000)

    def error(self, now: float) -> ModelTimeoutError:
        """Name the limit that was reached. A spent total is final; the others may be tried again."""
        limits = self.limits
        if now >= self.total_ends_at:
            return ModelTimeoutError(
                f"not finished within {limits.total_s:.3g} s",
                hint="raise timeout_s of the tier, or the run's deadline if that came first",
            )
        if self.phase == "loading":
            return ModelTimeoutError(
                f"not loaded within {limits.load_s:g} s",
                hint="raise load_timeout_s, or look at the model server's log",
            )
        if self.phase == "streaming":
            return ModelTimeoutError(
                f"silent for {limits.silence_s:g} s in the middle of its answer",
                hint="raise silence_timeout_s, or see whether the server hangs",
                retryable=True,
            )
        waited, name = (
            (limits.load_s, "load_timeout_s")
            if self.phase == "suspected"
            else (limits.first_token_s, "first_token_timeout_s")
        )
        return ModelTimeoutError(
            f"no first token within {waited:g} s",
            hint=f"raise {name}, or see whether the server is busy",
            retryable=True,
        )

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self.phase_began_at = phase, now
