"""Blocking work on files, off the event loop, that ends when its tool is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


async def reading(work: Callable[[threading.Event], Value]) -> Value:
    """Run `work` in a thread and return its value.

    Cancelling returns at once and sets the event; the thread, which changes nothing, sees it and ends.
    """
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


async def changing(work: Callable[[threading.Event], Value]) -> Value:
    """Run `work`, which changes files, in a thread and return its value.

    Cancelling sets the event and waits for the thread, so that nothing changes after the cancellation is
    over: the thread has either made its one change by then, or left things as they were.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, lest the loop complains
        raise
