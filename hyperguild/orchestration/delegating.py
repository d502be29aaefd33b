"""What the attempts of a run delegate, and what was delegated before they were taken up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from hyperguild.agent.source import AttemptTools
from hyperguild.domain.chain import Tier
from hyperguild.domain.records import Attempt, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.orchestration.attempt import AttemptUnderWay
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.workplace import Workplace
from hyperguild.ports import EventSink


class Delegating:
    """Lets the attempts of one run delegate, where they may; `walk` walks what they delegate."""

    def __init__(
        self,
        run: RunContext,
        walk: Callable[[RunRequest, EventSink], Awaitable[RunResult]],
        *,
        continued: bool,
    ) -> None:
        self._run = run
        self._walk = walk
        self._uncounted = continued

    async def beside(
        self, place: Workplace, tier: Tier, attempt: Callable[[], AttemptUnderWay], emit: Emitter
    ) -> AttemptTools:
        """Return the tools of an attempt and, where it may delegate, `delegate` beside them."""
        given, run = place.given, self._run
        tools, request = run.tools, run.request
        if not tier.agent.delegate or tools.skills is None or request.parent_run_id is not None:
            return given
        from hyperguild.orchestration.delegation import (  # noqa: PLC0415  # start-up
            Delegator,
            Guildmates,
            open_delegation,
        )

        own_folder = given.work is not None
        delegating = replace(request, work=place.work)
        delegator = Delegator(delegating, run.run_id, run.session_id, tier, attempt, own_folder)
        mates = Guildmates(tools.skills, run.sink, self._walk, tools.approver)
        delegation = await open_delegation(delegator, mates)
        for warning in delegation.warnings:
            emit.warn_once(warning)  # other tiers may delegate to the same skills
        return replace(given, tools=(*given.tools, *delegation.tools), rules=delegation.beside(given.rules))

    async def count_earlier(self, under_way: AttemptUnderWay, attempts: Sequence[Attempt]) -> None:
        """Count for the first attempt of a run that is continued what was delegated before, and not counted.

        That is all since the last step of an attempt on record; it may have been in a step that is not on
        record itself. Raises `StoreError`.
        """
        uncounted, self._uncounted = self._uncounted, False
        if not (uncounted and under_way.plan.tier.agent.delegate):
            return
        from hyperguild.orchestration.delegation import uses_of  # noqa: PLC0415  # start-up

        run = self._run
        runs = await run.tools.store.session_runs(run.session_id)
        ended = {attempt.attempt_id for attempt in attempts}
        own = [step for stored in runs if stored.result.run_id == run.run_id for step in stored.steps]
        # Ids sort by age.
        counted = max((step.step_id for step in own if step.attempt_id in ended), default="")
        for stored in runs:
            if stored.parent_run_id == run.run_id and stored.result.run_id > counted:
                for use in uses_of(stored.result):
                    under_way.count(use)
                    if run.tools.meter is not None:
                        run.tools.meter.count(use.usage)
