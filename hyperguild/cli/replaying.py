"""Does what `replay` asks for: reads chains and records, replays, prints."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock
from hyperguild.cli.filters import wanted_of
from hyperguild.cli.interruption import Interruption
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.cli.page import Page
from hyperguild.cli.replay_page import Report, fill_page, report_object
from hyperguild.cli.review_log import open_review
from hyperguild.cli.streams import say
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.config.wording import listed, quoted
from hyperguild.domain.chain import Chain
from hyperguild.domain.review import RecordedRun, ReviewFilter
from hyperguild.errors import UsageError
from hyperguild.review.checking import Rechecker
from hyperguild.review.figures import differences, figures
from hyperguild.review.recollection import KnownTask, recollect
from hyperguild.review.replay import AtRandom, ByLabel, ByRecord, ReplayVerifier


@dataclass(frozen=True, slots=True)
class Contender:
    """A chain to replay, what it is called in the table, and the configuration that it is from."""

    title: str
    chain: Chain
    configuration: Configuration


def run_replay(
    settings: Settings, chains: Sequence[str], options: Mapping[str, Any], *, as_json: bool
) -> None:
    """Replay and print; `options` are those of `hyperguild replay`, by parameter name."""
    wanted = wanted_of(
        {"skill": options["skills"], "since": options["since"], "until": options["until"]},
        SystemClock().now(),
    )
    verifier = verifier_of(options["verifier"])
    with Interruption() as interruption:
        try:
            report = asyncio.run(_replayed(settings, chains, wanted, verifier, options, interruption))
        except asyncio.CancelledError:
            if interruption.begun:
                raise KeyboardInterrupt from None
            raise
    if as_json:
        print_json(report_object(report))
        return
    page = Page.for_stdout(settings.env)
    fill_page(page, report)
    page.print()


def verifier_of(chosen: str | float) -> ReplayVerifier:
    """Return the verifier that `--verifier` names."""
    if isinstance(chosen, float):
        return AtRandom(chosen)
    return ByLabel() if chosen == "perfect" else ByRecord()


async def _replayed(
    settings: Settings,
    names: Sequence[str],
    wanted: ReviewFilter,
    verifier: ReplayVerifier,
    options: Mapping[str, Any],
    interruption: Interruption,
) -> Report:
    with interruption.cancels_this_task():
        runs = await recorded(settings, wanted)
        tasks = recollect(runs)
        if not tasks:
            raise UsageError(
                "no recorded runs to replay", hint="`hyperguild sessions list` shows what the log holds"
            )
        contenders = contenders_of(settings, names, {task.skill for task in tasks}, options["accept_at"])
        progress = _CheckProgress()
        rechecker = Rechecker(progress.show)
        if options["live"]:
            tasks = await _filled(settings, contenders, runs, rechecker, options["max_cost"])
        try:
            ways = [await rechecker.replay(tasks, one.chain, verifier) for one in contenders]
        finally:
            progress.end()
    for fault in sorted(rechecker.faults):
        say(flat(f"warning: a check is at fault, so that its answers escalate: {fault}"))
    return report_of(tasks, contenders, ways, options["verifier"])


async def _filled(
    settings: Settings,
    contenders: Sequence[Contender],
    runs: Sequence[RecordedRun],
    rechecker: Rechecker,
    max_cost: float,
) -> tuple[KnownTask, ...]:
    """Return the tasks once real calls have filled what they miss, as far as the budget goes."""
    from hyperguild.cli.replay_live import LiveFill  # noqa: PLC0415  # start-up

    live = LiveFill(settings, max_cost)
    tasks = recollect(runs)
    for one in contenders:
        while await live.fill(one.configuration, one.chain, tasks, rechecker):
            made = [
                run
                for session_id in sorted(live.session_ids)
                for run in await recorded(settings, ReviewFilter(session_id=session_id))
            ]
            tasks = recollect([*runs, *made])
    return tasks


def report_of(
    tasks: Sequence[KnownTask], contenders: Sequence[Contender], ways: Sequence[Any], verifier: str | float
) -> Report:
    """Sum up what the contenders come to."""
    summed = [
        (one.title, figures(one.chain, tasks, paths)) for one, paths in zip(contenders, ways, strict=True)
    ]
    between = None
    if len(contenders) == 2:
        between = differences((contenders[0].chain, ways[0]), (contenders[1].chain, ways[1]))
    skills = tuple(sorted({task.skill for task in tasks}))
    named = verifier if isinstance(verifier, str) else f"random:{verifier:g}"
    judges = tuple(
        tuple(model.name for model in one.chain.verifier.judge.models)
        if one.chain.verifier is not None and one.chain.verifier.judge is not None
        else ()
        for one in contenders
    )
    return Report(len(tasks), skills, named, tuple(summed), judges, between)


async def recorded(settings: Settings, wanted: ReviewFilter) -> list[RecordedRun]:
    """Return the runs of the log that fit, with their texts."""
    runs: list[RecordedRun] = []
    async with open_review(settings) as store:
        async for batch in store.recorded_runs(wanted):
            runs += batch
    return runs


def contenders_of(
    settings: Settings, names: Sequence[str], skills: set[str], accept_at: float | None
) -> list[Contender]:
    """Return the chains that are named; without names, that of the skills.

    With a threshold each has that one; a single chain stands beside itself as it is. Raises `ConfigError`,
    and `UsageError` where the skills have several chains, or a threshold has no judge.
    """
    found = [contender(settings, name, skills) for name in names] or [_of_skills(settings, skills)]
    if accept_at is None:
        return found
    changed = [_at(one, accept_at) for one in found]
    return [found[0], changed[0]] if len(found) == 1 else changed


def contender(settings: Settings, name: str, skills: set[str]) -> Contender:
    """Return the chain that `NAME`, `FILE` or `FILE:NAME` means, looked for in this order.

    A file that is named is trusted, as with --config.
    """
    path, colon, chain = name.rpartition(":")
    if Path(name).is_file():
        other = load_config(Path.cwd() / name, settings.env, "--chain")
        return Contender(name, _chain_of(other, skills), other)
    if colon and Path(path).is_file():
        other = load_config(Path.cwd() / path, settings.env, "--chain")
        return Contender(name, other.chain_for("", chain), other)
    configuration = settings.load()
    return Contender(name, configuration.chain_for("", name), configuration)


def _of_skills(settings: Settings, skills: set[str]) -> Contender:
    configuration = settings.load()
    chain = _chain_of(configuration, skills)
    return Contender(chain.name, chain, configuration)


def _chain_of(configuration: Configuration, skills: set[str]) -> Chain:
    chains = {configuration.chain_for(skill).name: configuration.chain_for(skill) for skill in skills}
    if len(chains) > 1:
        raise UsageError(
            f"the recorded skills have several chains: {listed(quoted(name) for name in sorted(chains))}",
            hint="choose with --skill or --chain",
        )
    return next(iter(chains.values()))


def _at(one: Contender, accept_at: float) -> Contender:
    verifier = one.chain.verifier
    if verifier is None or verifier.judge is None:
        raise UsageError(
            f"--accept-at: no judge judges answers of the chain {quoted(one.chain.name)}",
            hint="it has checks alone, or no verifier",
        )
    judge = dataclasses.replace(verifier.judge, accept_at=accept_at)
    chain = dataclasses.replace(one.chain, verifier=dataclasses.replace(verifier, judge=judge))
    return Contender(f"{one.title} at {accept_at:g}", chain, one.configuration)


class _CheckProgress:
    """One line on stderr, on a terminal alone, while checks run."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, done: int, wanted: int) -> None:
        """Show how far it is."""
        if sys.stderr.isatty() and (done % 10 == 0 or done == wanted):
            self._shown = True
            sys.stderr.write(f"\rchecking recorded answers: {done} of {wanted}")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
