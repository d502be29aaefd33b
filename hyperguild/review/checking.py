"""Runs the deterministic checks of chains again, on recorded answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from hyperguild.domain.chain import Chain
from hyperguild.domain.messages import FinishReason
from hyperguild.domain.records import CheckResult
from hyperguild.review.recollection import Answer, KnownTask
from hyperguild.review.replay import ByRecord, CheckOutcome, Path, ReplayVerifier, replay
from hyperguild.verification.checks import run_checks
from hyperguild.verification.subject import Subject

Replayed = tuple[tuple[Path, ...], ...]
"""The paths of each task, in the order of the tasks."""


class Rechecker:
    """Replays tasks, running the checks that takes; each answer is checked once, for all chains alike.

    `on_checked` is called with how many are done and how many are wanted by now. `faults` are what checks
    that are themselves at fault said: their answers escalate, as in a run.
    """

    def __init__(self, on_checked: Callable[[int, int], None], at_once: int | None = None) -> None:
        self.faults: set[str] = set()
        self._on_checked = on_checked
        self._at_once = at_once or max(os.cpu_count() or 1, 2)
        self._outcomes: dict[tuple[str, str | None, str | None], CheckOutcome] = {}

    async def replay(self, tasks: Sequence[KnownTask], chain: Chain, verifier: ReplayVerifier) -> Replayed:
        """Return the paths of the tasks through the chain. Cancelling kills programs that run."""
        checks = chain.verifier.checks if chain.verifier is not None else ()
        name = repr(checks)

        def checked(answer: Answer) -> CheckOutcome | None:
            return self._outcomes.get((name, answer.text, answer.fact.finish_reason))

        paths = [replay(task, chain, verifier, checked) for task in tasks]
        if not checks or not isinstance(verifier, ByRecord):
            return tuple(paths)
        while wanted := self._unchecked(tasks, paths):
            await self._check_all(chain, name, wanted)
            paths = [replay(task, chain, verifier, checked) for task in tasks]
        return tuple(paths)

    def _unchecked(
        self, tasks: Sequence[KnownTask], paths: Sequence[tuple[Path, ...]]
    ) -> list[tuple[KnownTask, Answer]]:
        found = {}
        for task, ways in zip(tasks, paths, strict=True):
            for path in ways:
                if path.gap is not None and path.gap.kind == "checks" and path.gap.answer is not None:
                    answer = path.gap.answer
                    found[answer.text, answer.fact.finish_reason] = (task, answer)
        return list(found.values())

    async def _check_all(self, chain: Chain, name: str, wanted: Sequence[tuple[KnownTask, Answer]]) -> None:
        """Check these answers, a bounded number at once."""
        left = iter(wanted)
        done = 0

        async def work() -> None:
            nonlocal done
            for task, answer in left:
                outcome = await self._check(chain, task, answer)
                self._outcomes[name, answer.text, answer.fact.finish_reason] = outcome
                done += 1
                self._on_checked(done, len(wanted))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, len(wanted))):
                group.create_task(work())

    async def _check(self, chain: Chain, task: KnownTask, answer: Answer) -> CheckOutcome:
        checks = chain.verifier.checks if chain.verifier is not None else ()
        subject = Subject(
            skill_prompt="",
            task=task.text or "",
            answer=answer.text or "",
            finish_reason=_finish(answer),
        )
        report = await run_checks(checks, subject, _ignore)
        if report.failures:
            return "failed"
        if report.fault is not None:
            self.faults.add(report.fault.message)
            return "fault"
        return "passed"


def _finish(answer: Answer) -> FinishReason:
    """Return how the answer ended; `stop` where the record does not tell."""
    match answer.fact.finish_reason:
        case "length" | "content_filter" | "refusal" | "tool_calls" as reason:
            return reason
        case _:
            return "stop"


def _ignore(_: CheckResult) -> None:
    """Nobody watches single checks here."""
