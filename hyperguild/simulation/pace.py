"""Time as the fleet lives it: the script's seconds, divided by its speed."""

import asyncio
import time
from collections.abc import Callable

SHORTEST_SLEEP_S = 0.001
"""Real seconds below which a wait is not worth a timer; a stream makes up for it at its next piece."""


class Pace:
    """A clock of simulated seconds over the running event loop."""

    def __init__(self, speed: float, real_now: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._real_now = real_now

    def now(self) -> float:
        """Simulated seconds since some moment; never goes back."""
        return self._real_now() * self._speed

    def real_s(self, duration_s: float) -> float:
        """How long simulated seconds take."""
        return duration_s / self._speed

    async def sleep(self, duration_s: float) -> None:
        """Wait for simulated seconds; cancellation ends the wait."""
        if duration_s > 0:
            await asyncio.sleep(self.real_s(duration_s))

    async def sleep_until(self, moment_s: float) -> None:
        """Wait for a moment of `now()`, unless it is (almost) there."""
        ahead = self.real_s(moment_s - self.now())
        if ahead > SHORTEST_SLEEP_S:
            await asyncio.sleep(ahead)

    def call_at(self, moment_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call a function at a moment of `now()`."""
        delay_s = max(0.0, self.real_s(moment_s - self.now()))
        return asyncio.get_running_loop().call_later(delay_s, call)
