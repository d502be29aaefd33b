"""Identifiers that sort by age, and nonces that nobody can guess."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

_COUNTER_MAX = 0xFFF
"""rand_a of a UUIDv7: twelve bits."""

_SEED_MAX = 0x7FF
"""A new millisecond starts its counter at random in the lower half, so that there is room to count up."""


class Uuid7Source:
    """UUIDs of version 7 (RFC 9562, section 5.7), strictly increasing within this source.

    `now_ms` gives milliseconds since 1970; `random_bytes(n)` gives n bytes nobody can guess. Where two ids
    fall into one millisecond, or the clock goes back, the second keeps the first one's time and counts up in
    rand_a (section 6.2, method 1); a full counter borrows the next millisecond. For one thread.
    """

    def __init__(self, now_ms: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._last_ms = -1
        self._counter = 0

    def new_id(self) -> str:
        """Return a UUIDv7 in its text form; it sorts after every one drawn before."""
        now_ms = self._now_ms()
        if now_ms > self._last_ms:
            self._start(now_ms)
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._start(self._last_ms + 1)
        tail = int.from_bytes(self._random_bytes(8)) >> 2
        number = self._last_ms << 80 | 0x7 << 76 | self._counter << 64 | 0b10 << 62 | tail
        return str(UUID(int=number))

    def nonce(self) -> str:
        """Return 16 hexadecimal digits that nobody can guess."""
        return self._random_bytes(8).hex()

    def _start(self, ms: int) -> None:
        self._last_ms = ms
        self._counter = int.from_bytes(self._random_bytes(2)) & _SEED_MAX
