"""The log under a SQLite that was built without FTS5: all works but searching, which says why."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from reviewing import accepted, chronicle, review_store

from hyperguild.adapters.store.search_index import TABLE
from hyperguild.domain.review import EVERYTHING, ReviewFilter
from hyperguild.errors import StoreError


class WithoutFts5(sqlite3.Connection):
    """SQLite as it is where FTS5 was left out: no module of that name, and no table of it can be used."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if "pragma_module_list" in sql:
            return super().execute("SELECT 1 WHERE 0")
        if TABLE in sql and not sql.startswith("DROP TRIGGER"):
            raise sqlite3.OperationalError("no such module: fts5")
        return super().execute(sql, *values)


def leave_out_fts5(patch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def without(*where: Any, **how: Any) -> sqlite3.Connection:
        return connect(*where, **how, factory=WithoutFts5)

    patch.setattr(sqlite3, "connect", without)


async def found(path: Path, text: str) -> int:
    async with review_store(path) as store:
        return len((await store.search(ReviewFilter(text=text), limit=5)).items)


async def test_the_log_works_and_searching_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.db"
    async with chronicle(path) as log:
        old = await log.run([accepted(answer="old words")], at=datetime.now(UTC) - timedelta(days=40))
    with monkeypatch.context() as patch:
        leave_out_fts5(patch)
        async with chronicle(path) as log:
            await log.run([accepted(answer="new words")])
        async with review_store(path) as store:
            assert len((await store.runs(EVERYTHING, limit=5)).items) == 2
            assert await store.run(old.run_id) is not None
            await store.label(old.attempts[0].attempt_id, "good", reviewer="ann", note="")
            for listing in (store.search, store.runs, store.sessions, store.attempts):
                with pytest.raises(StoreError, match="cannot search: it was built without FTS5") as refused:
                    await listing(ReviewFilter(text="words"), limit=5)
                assert refused.value.hint
            await store.prune(datetime.now(UTC) - timedelta(days=30), keep_labelled=False)
    assert await found(path, "new") == 1
    assert await found(path, "old") == 0
