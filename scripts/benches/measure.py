"""What all benches share: interleaved rounds, ratios to a floor, and tables that show their spread.

A ratio is taken inside one round, between neighbours in time: what else runs on the machine then hits both.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Job = Callable[[], Awaitable[None]]
"""One unit of work: a completion, a run, a commit. Raises where it did not do what it should."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One leg of one round: units of work a second, and CPU milliseconds of this process for each unit."""

    per_s: float
    cpu_ms: float


async def sample(job: Job, *, at_once: int, seconds: float) -> Sample:
    """Do the job again and again, `at_once` at a time, for about `seconds`; what was begun is finished.

    Each of the `at_once` workers does its job at least once. All threads of the process count.
    """
    done = 0
    began, cpu_began = time.perf_counter(), time.process_time()

    async def work() -> None:
        nonlocal done
        while True:
            await job()
            done += 1
            if time.perf_counter() - began >= seconds:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    cpu_s = time.process_time() - cpu_began
    return Sample(done / (time.perf_counter() - began), cpu_s * 1000 / done)


async def rounds(
    jobs: Mapping[str, Job], *, at_once: int, count: int, seconds: float
) -> dict[str, list[Sample]]:
    """Sample every job once a round, `count` rounds; the first round more is a warm-up and is left out.

    Each round begins with another job, so that none always follows the same one.
    """
    names = list(jobs)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(count + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            taken = await sample(jobs[name], at_once=at_once, seconds=seconds if number else seconds / 2)
            if number:
                samples[name].append(taken)
    return samples


def ratios(values: Sequence[float], floor: Sequence[float]) -> list[float]:
    """Return value over floor, round by round."""
    return [value / base for value, base in zip(values, floor, strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median, and the lowest and highest value: `1.20 (1.10-1.31)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in [header, rule, *rows]
    )


def machine() -> str:
    """Return one line about the machine, and how busy it was when the bench began."""
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, {sys.platform}, Python {python}{load}"
