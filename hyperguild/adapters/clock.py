"""The system's clock, and ids that it dates."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime

from hyperguild.domain.ids import Uuid7Source
from hyperguild.ports import Clock


class SystemClock:
    """Implements `ports.Clock` with real time."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the time of day, in UTC, to the millisecond: what the session log keeps."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    async def sleep(self, seconds: float) -> None:
        """Wait, letting other tasks run."""
        await asyncio.sleep(seconds)


def system_ids(clock: Clock) -> Uuid7Source:
    """Return the source of ids and nonces of a real process."""
    return Uuid7Source(now_ms=lambda: int(clock.now().timestamp() * 1000), random_bytes=os.urandom)
