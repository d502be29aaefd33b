"""A task that lives no longer than a block of code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None], None]:
    """Run `work` beside the block; it is cancelled and awaited when the block ends, however it ends.

    Unlike a TaskGroup it leaves the block's own exception as it is, so that error types stay readable. An
    exception of `work` itself surfaces when the block ends without one. The block may cancel it earlier.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
