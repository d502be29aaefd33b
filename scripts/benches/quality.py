"""What a judged chain is worth: 1,000 real runs for each threshold of the judge, against each tier alone.

A weak model answers first, a judge refuses or accepts, a strong model answers what was refused. All three are
the tiny language models of the package, run by its own engine; the task, dates in words to YYYY-MM-DD, has
computable answers. The floors are the weak model alone and a verifier that escalates by lot; the ceilings are
the strong model alone and a verifier that never errs. Two computers may differ in the last bits of a sum, and
so, here and there, in an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from measure import machine
from quality_chart import chart
from quality_figures import Outcome
from quality_report import Report, as_json, as_markdown, report_of

from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.domain.events import Event
from hyperguild.domain.records import ChainExhaustedError, RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.skills.manifest import Skill
from hyperguild.tiny_fleet import tiny_fleet_dir

PROMPTS = Path(__file__).parent / "data" / "iso-date-test.jsonl"
WEAK, STRONG = "apprentice", "journeyman"
THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""Of the judge's score: an answer below is refused."""

LINE_WIDTH = 110

CHAINS = """\
version: 1
endpoints:
  here: {kind: embedded, max_loaded: 3, slots: 2, threads: 1}
models:
  apprentice: {endpoint: here, gguf: apprentice.gguf, context_window: 2048, max_output_tokens: 24}
  journeyman: {endpoint: here, gguf: journeyman.gguf, context_window: 2048, max_output_tokens: 24}
  judge:      {endpoint: here, gguf: judge.gguf, context_window: 2048, max_output_tokens: 100}
"""


class BenchError(Exception):
    """A run was lost or ended in another way than this bench can count: no figure may come of that."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A line of the test set: what is asked, and the true answer."""

    text: str
    truth: str


class NoSink:
    """Takes events and drops them."""

    def emit(self, event: Event) -> None:
        """Drop the event."""


class Progress:
    """One line on stderr that is written over, on a terminal; elsewhere nothing."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def step(self, walk: str) -> None:
        """Count a run that has ended."""
        self._done += 1
        if self._shown:
            print(f"\r{self._done}/{self._total} runs · {walk:<24}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def read_prompts(count: int | None) -> list[Prompt]:
    """Return the first `count` prompts of the test set, or all."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()[:count]
    return [Prompt(line["prompt"], line["answer"]) for line in map(json.loads, lines)]


def configuration() -> Configuration:
    """Return a chain for each threshold, and one for each tier alone."""
    lines = ["verifiers:"]
    lines += [f"  at-{at}: {{judge: {{model: judge, accept_at: {at}}}}}" for at in THRESHOLDS]
    lines += ["chains:"]
    for at in THRESHOLDS:
        tiers = f"[{{model: {WEAK}, verify: true}}, {{model: {STRONG}, verify: false}}]"
        lines += [f"  at-{at}: {{verifier: at-{at}, tiers: {tiers}}}"]
    lines += [f"  {name}: [{{model: {name}, verify: false}}]" for name in (WEAK, STRONG)]
    return load_config_text(CHAINS + "\n".join(lines) + "\n", tiny_fleet_dir() / "chains.yaml", {})


@dataclass(frozen=True, slots=True)
class Walker:
    """Walks prompts through chains, `at_once` at a time, with a session log in a file of its own."""

    guild: OpenGuild
    configured: Configuration
    skill: Skill
    store: SqliteSessionStore
    at_once: int

    async def walk(self, chain: str, prompts: Sequence[Prompt], step: Callable[[str], None]) -> list[Outcome]:
        """Take every prompt through the chain; return the outcomes in the order of the prompts.

        Raises `BenchError` (in a group) for a run that did not end as a run should.
        """
        outcomes: dict[int, Outcome] = {}
        queue = iter(enumerate(prompts))

        async def work(queue: Iterator[tuple[int, Prompt]]) -> None:
            for number, prompt in queue:
                outcomes[number] = outcome(prompt, await self._run(chain, prompt))
                step(chain)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.at_once):
                group.create_task(work(queue))
        return [outcomes[number] for number in range(len(prompts))]

    async def _run(self, chain: str, prompt: Prompt) -> RunResult:
        request = RunRequest(
            skill=self.skill.name,
            system_prompt=self.skill.system_prompt(prompt.text),
            task=Task(prompt.text),
            chain=self.configured.chain_for(self.skill.name, chain),
        )
        try:
            return await self.guild.run(request, self.store, NoSink())
        except ChainExhaustedError as error:
            return error.result
        except RunError as error:
            raise BenchError(f"{prompt.text!r} in chain {chain}: {error}") from error


def outcome(prompt: Prompt, result: RunResult) -> Outcome:
    """Return what became of the prompt.

    Raises `BenchError` where an attempt was an error, was skipped, or was refused for another reason than the
    judge's verdict or a cut-off answer: such a run says nothing about models.
    """
    for attempt in result.attempts:
        if attempt.verdict in {"error", "skip"} or attempt.cause not in {None, "rejected", "truncated"}:
            said = attempt.error.message if attempt.error else attempt.feedback
            raise BenchError(
                f"{prompt.text!r} in chain {result.chain}: {attempt.model}: "
                f"{attempt.verdict} ({attempt.cause}): {said}"
            )
    first = result.attempts[0]
    return Outcome(
        truth=prompt.truth,
        first=first.answer,
        final=result.output or "",
        escalated=len(result.attempts) > 1,
        score=first.score,
    )


async def walks(prompts: Sequence[Prompt], at_once: int) -> dict[str, list[Outcome]]:
    """Walk all chains, one after the other; return the outcomes of each by its name.

    Raises `BenchError`, alone or in a group, where a run is lost or ends wrongly.
    """
    configured, scrubber = configuration(), Scrubber()
    skill = SkillCatalog((tiny_fleet_dir() / "skills",)).get("iso-date")
    progress = Progress(len(configured.chains) * len(prompts))
    with tempfile.TemporaryDirectory() as folder, closing(progress):
        db = Path(folder) / "sessions.db"
        async with open_guild(configured, {}, scrubber) as guild:
            store = await SqliteSessionStore.open(
                db, scrubber=scrubber, log=configured.log, clock=guild.clock
            )
            try:
                walker = Walker(guild, configured, skill, store, at_once)
                walked = {name: await walker.walk(name, prompts, progress.step) for name in configured.chains}
            finally:
                await store.aclose()
        require_in_log(db, walked)
    return walked


def require_in_log(db: Path, walked: Mapping[str, Sequence[Outcome]]) -> None:
    """Raise `BenchError` unless the session log holds just these runs, each ended and with its answer."""
    query = "SELECT chain, output FROM runs WHERE status IN ('accepted', 'exhausted')"
    with closing(sqlite3.connect(db)) as log:
        logged = Counter((chain, output or "") for chain, output in log.execute(query))
        rows = log.execute("SELECT count(*) FROM runs").fetchone()[0]
    expected = Counter((name, run.final) for name, runs in walked.items() for run in runs)
    if logged != expected or rows != expected.total():
        raise BenchError(f"{expected.total()} runs were walked; the session log holds {rows}, or others")


def workload(prompts: int, at_once: int) -> str:
    """Return what is measured, as a paragraph."""
    return textwrap.fill(
        f"{prompts} prompts of the task iso-date. Each is a run of the chain {WEAK} -> judge -> {STRONG}, "
        "with its session log, for each threshold, and a run of each model alone. Embedded engine: all "
        f"models loaded, 2 slots and 1 thread each, temperature 0; {at_once} runs at once. {machine()}.",
        LINE_WIDTH,
    )


def notes(report: Report, seconds: float) -> str:
    """Return how to read the table, and how reproducible it is, as two paragraphs."""
    differs = report.agreement
    how = (
        "Brackets: Wilson intervals (95 %). By lot: the expected accuracy where as many runs, drawn at "
        "random, go to the strong model. The strong model's answer is taken unjudged."
    )
    again = (
        f"Prompts for which not all walks agreed: on the {WEAK}'s answer {differs.weak}, on the {STRONG}'s "
        f"{differs.strong}, on the judge's score {differs.scores}. Digest of all answers, scores and "
        f"escalations: {report.digest}; a run with the same digest was the same in each of them. "
        f"{report.prompts * (len(THRESHOLDS) + 2)} runs in {seconds:.0f} s, all in the session log."
    )
    return f"{textwrap.fill(how, LINE_WIDTH)}\n\n{textwrap.fill(again, LINE_WIDTH)}"


def show(report: Report, options: argparse.Namespace, seconds: float) -> None:
    """Print the report as was asked for."""
    if options.json:
        took = {"at_once": options.at_once, "seconds": round(seconds, 1), "machine": machine()}
        print(json.dumps(as_json(report) | took, indent=2))
        return
    print(workload(report.prompts, options.at_once), as_markdown(report), notes(report, seconds), sep="\n\n")


def main() -> None:
    """Walk, print, and draw where that is asked for; exit with 1 and one line where a run went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="the first N prompts only, for a quick look")
    parser.add_argument("--at-once", type=int, default=8, help="runs at once (8)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="write a chart, too")
    options = parser.parse_args()
    if options.at_once < 1 or (options.sample is not None and options.sample < 1):
        parser.error("--sample and --at-once are at least 1")
    began = time.perf_counter()
    try:
        walked = asyncio.run(walks(read_prompts(options.sample), options.at_once))
    except* BenchError as group:
        sys.exit(f"error: {first_of(group)}")
    chains = {at: walked[f"at-{at}"] for at in THRESHOLDS}
    report = report_of((WEAK, walked[WEAK]), (STRONG, walked[STRONG]), chains)
    show(report, options, time.perf_counter() - began)
    if options.svg:
        options.svg.write_text(chart(report), encoding="utf-8")


def first_of(group: BaseExceptionGroup[BenchError]) -> BaseException:
    """Return the first error of a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
