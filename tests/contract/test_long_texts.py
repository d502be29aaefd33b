"""Searching the log where texts are long: one of them must not hold up all others.

Limits of time are a hundred times what it takes: they guard against what grows with the square of a text.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from reviewing import accepted, chronicle, review_store

from hyperguild.domain.review import Hit, ReviewFilter
from hyperguild.errors import UsageError

LIMIT_S = 20


async def record(path: Path, *answers: str) -> list[str]:
    """Record a run with these answers; return the ids of its attempts."""
    async with chronicle(path) as log:
        run = await log.run([accepted(answer=answer) for answer in answers], task="t")
    return [attempt.attempt_id for attempt in run.attempts]


async def hits(path: Path, text: str) -> list[Hit]:
    async with review_store(path) as store, asyncio.timeout(LIMIT_S):
        return list((await store.search(ReviewFilter(text=text), limit=5)).items)


async def found(path: Path, text: str) -> list[str | None]:
    return [hit.attempt_id for hit in await hits(path, text)]


async def test_one_ideograph_in_a_long_text_costs_no_more_than_its_letters(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    words = "some words " * 40_000
    began = time.monotonic()
    ends_so, holds_it = await record(path, f"{words}終", f"{words}漢字 and more")
    assert time.monotonic() - began < LIMIT_S
    assert await found(path, "終") == [ends_so]
    assert await found(path, "漢字") == [holds_it]
    assert await found(path, "字漢") == []
    assert len(await found(path, "words")) == 2


async def test_every_character_of_a_long_text_is_found_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    signs = [chr(0x4E00 + number) for number in range(1000)]
    (answer,) = await record(path, "".join(f"{sign}á{number:03}" for number, sign in enumerate(signs)))
    for number in (0, 1, 63, 64, 65, 500, 511, 512, 998, 999):
        assert await found(path, f'"{signs[number]} a{number:03}"') == [answer]
    assert await found(path, f'"{signs[0]} a001"') == []


async def test_a_word_that_a_long_text_repeats_is_shown_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    await record(path, "error " * 40_000)
    (hit,) = await hits(path, "error")
    assert hit.excerpt[:2] == ("", "error")


async def test_what_is_found_far_into_a_text_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    await record(path, "some words " * 20_000 + "the needle and then" + " more words" * 20_000)
    (hit,) = await hits(path, '"the needle and"')
    assert hit.excerpt[1] == "the needle and"
    assert hit.excerpt[0].startswith("…")
    assert hit.excerpt[2].endswith("…")


async def test_what_is_found_too_far_into_a_text_is_shown_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    await record(path, "some words " * 40_000 + "needle")
    (hit,) = await hits(path, "needle")
    assert hit.excerpt[0].startswith("some words some words")
    assert len(hit.excerpt) == 1


async def test_a_long_quotation_is_refused_before_it_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    (answer,) = await record(path, "line " * 40_000)
    assert await found(path, f'"{"line " * 300}"') == [answer]
    for text in (f'"{"line " * 301}"', "漢" * 301, f'"{"line." * 5000}"'):
        with pytest.raises(UsageError, match="words to look for"):
            await hits(path, text)
