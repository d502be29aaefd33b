"""How long pages and searches of a large session log take, and what it takes on disk.

Fills a log (or takes one that was filled before) and asks it for pages with filters that are common, rare and
unlucky. A page may be partly filled where what fits is far between; it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from measure import machine, table
from review_log import BEGIN, DAYS, fill

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.domain.review import EVERYTHING, Page, ReviewFilter
from hyperguild.domain.secrets import Scrubber

LIMIT, TOO_LONG_MS = 50, 100.0
LATE, MIDDLE = BEGIN + timedelta(days=DAYS - 1), BEGIN + timedelta(days=DAYS // 2)
FILTERS: dict[str, ReviewFilter] = {
    "all": EVERYTHING,
    "skill": ReviewFilter(skills=("review",)),
    "rare skill": ReviewFilter(skills=("rare-skill",)),
    "rare model": ReviewFilter(models=("rare-model",)),
    "rare skill, common model": ReviewFilter(skills=("rare-skill",), models=("phi4",)),
    "skill and model never meet": ReviewFilter(skills=("summarize",), models=("claude-opus-4",)),
    "status": ReviewFilter(statuses=("exhausted",)),
    "status and verdict": ReviewFilter(statuses=("exhausted",), verdicts=("accept",)),
    "no such status": ReviewFilter(statuses=("awaiting_tools",)),
    "running": ReviewFilter(statuses=("running",)),
    "label": ReviewFilter(labels=("disputed",)),
    "label, model, verdict": ReviewFilter(labels=("bad",), models=("qwen3-8b",), verdicts=("accept",)),
    "unlabelled": ReviewFilter(labels=("none",), verdicts=("accept",)),
    "dearest": ReviewFilter(min_cost_usd=0.0499),
    "cost that nothing has": ReviewFilter(min_cost_usd=99.0),
    "last day": ReviewFilter(since=LATE),
    "a day half a year ago": ReviewFilter(since=MIDDLE, until=MIDDLE + timedelta(days=1)),
    "old, rare": ReviewFilter(until=MIDDLE, skills=("rare-skill",)),
}
TEXTS: dict[str, ReviewFilter] = {
    "word": ReviewFilter(text="{common}"),
    "beginning of many": ReviewFilter(text="{common}*"),
    "two words": ReviewFilter(text="{common} {other}"),
    "quoted words": ReviewFilter(text='"{common} {other}"'),
    "one ticket": ReviewFilter(text="ticket_1000"),
    "no such word": ReviewFilter(text="nosuchword"),
    "beginning": ReviewFilter(text="ticket_10000*"),
    "word, skill": ReviewFilter(text="{common}", skills=("review",)),
    "word, rare skill": ReviewFilter(text="{common}", skills=("rare-skill",)),
    "word, rare model": ReviewFilter(text="{common}", models=("rare-model",)),
    "word, never meet": ReviewFilter(text="{common}", skills=("summarize",), models=("claude-opus-4",)),
    "word, label": ReviewFilter(text="{common}", labels=("disputed",)),
    "word, status": ReviewFilter(text="{common}", statuses=("exhausted",)),
    "word, cost": ReviewFilter(text="{common}", min_cost_usd=0.0499),
    "word, half a year ago": ReviewFilter(text="{common}", until=MIDDLE),
}

Ask = Callable[..., Awaitable[Page[Any]]]


@dataclass
class Measured:
    """Times of pages in ms, by the clock and of the processor; what came, and whether in full pages."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    items: int = 0
    full: bool = True


async def measured(ask: Ask, wanted: ReviewFilter, pages: int, rounds: int) -> Measured:
    """Ask for some pages, some times."""
    done = Measured()
    for _ in range(rounds):
        after: str | None = None
        for _ in range(pages):
            began, began_cpu = time.perf_counter(), time.process_time()
            page = await ask(wanted, limit=LIMIT, after=after)
            done.wall_ms.append(1000 * (time.perf_counter() - began))
            done.cpu_ms.append(1000 * (time.process_time() - began_cpu))
            done.items += len(page.items)
            done.full = done.full and (page.after is None or len(page.items) == LIMIT)
            after = page.after
            if after is None:
                break
    return done


async def bench(path: Path, options: argparse.Namespace) -> list[list[str]]:
    """Ask for every kind of page; return the rows of the table."""
    clock = SystemClock()
    store = await SqliteReviewStore.open(path, scrubber=Scrubber(), clock=clock, ids=system_ids(clock))
    common, other = _words(path)
    rows = []
    try:
        asked: list[tuple[str, str, Ask, ReviewFilter]] = [
            (listing, name, ask, wanted)
            for listing, ask in (
                ("runs", store.runs),
                ("attempts", store.attempts),
                ("sessions", store.sessions),
            )
            for name, wanted in FILTERS.items()
        ]
        for name, wanted in TEXTS.items():
            text = wanted.text.replace("{common}", common).replace("{other}", other)
            found = wanted.model_copy(update={"text": text})
            asked += [
                ("search", name, store.search, found),
                ("runs", name, store.runs, found),
                ("attempts", name, store.attempts, found),
            ]
        for listing, name, ask, wanted in asked:
            done = await measured(ask, wanted, options.pages, options.rounds)
            late = "  over 100" if max(done.wall_ms) > TOO_LONG_MS else ""
            wall = [f"{median(done.wall_ms):.1f}", f"{max(done.wall_ms):.1f}{late}"]
            cpu = [f"{median(done.cpu_ms):.1f}", f"{max(done.cpu_ms):.1f}"]
            items = f"{done.items // options.rounds}{'' if done.full else ' in pieces'}"
            rows.append([listing, name, *wall, *cpu, items])
    finally:
        await store.aclose()
    return rows


def _words(path: Path) -> tuple[str, str]:
    """Return two words that stand side by side in many texts."""
    with closing(sqlite3.connect(path)) as connection:
        (task,) = connection.execute("SELECT task FROM runs LIMIT 1").fetchone()
    words = [word.strip(".") for word in task.split()]
    return words[0], words[1]


def sizes(path: Path, attempts: int) -> list[list[str]]:
    """Return the bytes per attempt of tables, of indexes and of the index of words."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT CASE WHEN tbl_name LIKE 'texts_index%' THEN 'words (FTS5)'"
            " WHEN type = 'index' THEN 'indexes' ELSE 'tables' END AS part, sum(pgsize)"
            " FROM dbstat JOIN sqlite_master USING (name) GROUP BY part ORDER BY part"
        ).fetchall()
    return [
        *([part, f"{size / attempts:,.0f}"] for part, size in found),
        ["whole file", f"{path.stat().st_size / attempts:,.0f}"],
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=1_000_000, help="in the log (1000000)")
    parser.add_argument("--pages", type=int, default=3, help="of each listing (3)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is asked for (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the texts and values (1)")
    parser.add_argument("--log", type=Path, help="fill this file, or take it where it is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.log or Path(folder, "sessions.db")
        if not path.exists():
            began = time.perf_counter()
            fill(path, options.attempts, options.seed)
            print(f"filled in {time.perf_counter() - began:.0f} s\n")
        print(f"{machine()}; {options.attempts:,} attempts, pages of {LIMIT}\n")
        header = ["listing", "filter", "median ms", "worst ms", "CPU ms", "worst CPU ms", "items"]
        print(table(header, asyncio.run(bench(path, options))))
        print()
        print(table(["part", "bytes/attempt"], sizes(path, options.attempts)))


if __name__ == "__main__":
    main()
