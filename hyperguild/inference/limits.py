"""The time limits of one call, as a small state machine: which limit holds now, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyperguild.domain.chain import TimeLimits
from hyperguild.errors import ModelTimeoutError

Phase = Literal["loading", "first_token", "streaming"]


@dataclass(slots=True)
class CallTimer:
    """Times one call. All times are seconds of one monotonic clock; `total_ends_at` bounds the whole attempt.

    Loading (where the model was not ready) → first token → streaming; each phase has its own limit.
    """

    limits: TimeLimits
    started_at: float
    total_ends_at: float
    phase: Phase = "first_token"
    phase_began_at: float = 0.0
    ready_at: float | None = None
    first_token_at: float | None = None

    def load(self, now: float) -> None:
        """The model turned out to be not ready."""
        self.phase, self.phase_began_at = "loading", now

    def ready(self, now: float) -> None:
        """The model is ready; a call that waits for its first token gets the whole of that limit."""
        if self.phase == "loading":
            self.ready_at = now
            self.phase, self.phase_began_at = "first_token", now

    def token(self, now: float) -> None:
        """Text or reasoning came."""
        if self.first_token_at is None:
            self.ready(now)
            self.first_token_at = now
        self.phase, self.phase_began_at = "streaming", now

    def alive(self, now: float) -> None:
        """A ping came: it counts against silence, but it is no first token."""
        if self.phase == "streaming":
            self.phase_began_at = now

    def ends_at(self) -> float:
        """Return when the limit that holds now is reached."""
        phase_limit = {
            "loading": self.limits.load_s,
            "first_token": self.limits.first_token_s,
            "streaming": self.limits.silence_s,
        }[self.phase]
        return min(self.phase_began_at + phase_limit, self.total_ends_at)

    def error(self, now: float) -> ModelTimeoutError:
        """Name the limit that was reached. A spent total is final; the others may be tried again."""
        if now >= self.total_ends_at:
            taken = now - self.started_at
            return ModelTimeoutError(
                f"not finished within its time ({taken:.3g} s in this call)",
                hint="raise timeout_s of the tier, or the budget's seconds",
            )
        if self.phase == "loading":
            return ModelTimeoutError(
                f"not loaded within {self.limits.load_s:g} s",
                hint="raise load_timeout_s, or look at the model server's log",
            )
        if self.phase == "first_token":
            return ModelTimeoutError(
                f"no first token within {self.limits.first_token_s:g} s",
                hint="raise first_token_timeout_s, or see whether the server is busy",
                retryable=True,
            )
        return ModelTimeoutError(
            f"silent for {self.limits.silence_s:g} s in the middle of its answer",
            hint="raise silence_timeout_s, or see whether the server hangs",
            retryable=True,
        )

    def load_ms(self) -> int | None:
        """Return how long loading took, or None where the model was ready from the start."""
        return None if self.ready_at is None else round((self.ready_at - self.started_at) * 1000)

    def first_token_ms(self) -> int | None:
        """Return the time from readiness to the first token, or None where none came."""
        if self.first_token_at is None:
            return None
        began = self.started_at if self.ready_at is None else self.ready_at
        return round((self.first_token_at - began) * 1000)
