"""Waits for work that a cancellation must not cut short."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

Value = TypeVar("Value")


async def to_the_end(work: asyncio.Future[Value]) -> Value:
    """Await work and return what it returns; cancelled, wait for its end all the same, then pass that on.

    The work is then done, and its error, if any, has been looked at.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):  # it is being cancelled as it is
                await asyncio.wait((work,))
        if not work.cancelled():
            work.exception()  # looked at, lest the loop complains
        raise
