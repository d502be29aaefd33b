"""Ends a run when that is asked for: Ctrl-C, SIGTERM, a terminal that is closed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

INTERRUPTED = 130
"""The exit code of whatever was interrupted: what a shell gives for SIGINT."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What interrupts a run. Those that are ignored at the start (`nohup`, `&`) stay ignored."""

ONE_PRESS_S = 1.0
"""Signals within this time are one: keys bounce and repeat; a terminal that is closed may cause two."""

PRESSES_TO_END = 3
"""How often one has to press until the program ends at once."""

WIND_UP_S = 30.0
"""How long a cancelled run may take to end. The longest there is: writes to a log that another program
has locked, each of which waits 5 s."""

_SHOW_CURSOR = b"\x1b[?25h"


class Interruption:
    """While its block lasts, the first signal cancels the run, and further ones are ignored while it ends.

    Where nothing is cancelled yet, the first signal raises `KeyboardInterrupt`. The third press, and a run
    that has not ended in `WIND_UP_S`, end the process at once with exit code 130: nobody is locked in, even
    where the event loop itself is stuck.
    The handlers stay in place after an interruption, for the process is about to end.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._presses = 0
        self._pressed_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._before: list[tuple[int, Callable[[int, FrameType | None], object] | int | None]] = []

    @property
    def begun(self) -> bool:
        """Whether there was a signal."""
        return self._presses > 0

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                # Not the loop's own handlers: these do nothing while the loop is stuck in a blocked write.
                self._before.append((number, signal.signal(number, self._received)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back, unless there was a signal."""
        if not self.begun:
            for number, handler in self._before:
                signal.signal(number, handler)

    @contextmanager
    def cancels_this_task(self) -> Iterator[None]:
        """Cancel the current task at the first signal that comes within the block."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            yield
        finally:
            self._loop = self._task = None

    def _received(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's signature
        now = self._monotonic()
        if self.begun and now - self._pressed_at < ONE_PRESS_S:
            return
        self._presses, self._pressed_at = self._presses + 1, now
        if self._presses >= PRESSES_TO_END:
            _end_at_once()
        if self._presses == 1:
            if self._loop is None:
                raise KeyboardInterrupt
            self._loop.call_soon_threadsafe(self.cancel)

    def cancel(self) -> None:
        """Cancel the task, from within its loop, as the first signal does."""
        if self._task is not None and self._loop is not None:
            self._task.cancel()
            self._loop.call_later(WIND_UP_S, _end_at_once)


def _end_at_once() -> None:
    """End the process; the live view may have hidden the cursor. Programs that a run started may be left."""
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)
    os._exit(INTERRUPTED)
