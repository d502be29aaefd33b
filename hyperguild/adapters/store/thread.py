"""One connection to the session database, in one thread of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hyperguild.adapters.store.connection import transaction, translated
from hyperguild.errors import StoreError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class StoreThread:
    """Carries out transactions one after the other. Methods raise `StoreError`.

    A write that was asked for is carried out even when its caller is cancelled; `aclose` waits for it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def connect(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Open the connection with `connect`, in the thread; where that fails or is cancelled, close all."""

        def work() -> None:
            self._connection = connect()

        try:
            await self._submit(work)
        except BaseException:
            await self.aclose()
            raise

    async def write(self, work: Work[T]) -> T:
        """Do the work in one transaction that holds the write lock from its beginning."""
        writing = self._submit(lambda: self._transact("BEGIN IMMEDIATE", work))
        # Where the caller is cancelled, nobody asks how it went; asyncio would complain of that on stderr.
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(writing)

    async def read(self, work: Work[T]) -> T:
        """Do the work in one transaction that sees one state of the database."""
        return await self._submit(lambda: self._transact("BEGIN", work))

    async def empty_log(self) -> None:
        """Bring what the write-ahead log holds into the file, and empty it; not what others still read."""

        def work() -> None:
            with translated(self.path):
                if self._connection is not None:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        await self._submit(work)

    async def aclose(self) -> None:
        """Close the database once all that was asked for is done. Safe to call twice, and when cancelled."""
        if self._closed:
            return
        closing = self._submit(self._disconnect)
        self._closed = True
        self._thread.shutdown(wait=False)
        await asyncio.shield(closing)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._closed:
            raise StoreError(f"the session log {self.path} is closed")
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transact(self, begin: str, work: Work[T]) -> T:
        if self._connection is None:
            raise StoreError(f"the session log {self.path} is closed")
        with translated(self.path), transaction(self._connection, begin):
            return work(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with translated(self.path):
                self._connection.close()
            self._connection = None
