"""Where one attempt works: its tools and its work directory, from their opening until they are settled."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hyperguild.agent.source import AttemptTools
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Tier
from hyperguild.domain.run import RunRequest
from hyperguild.domain.tools import ToolCall
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.resume import UnderWay


@dataclass(frozen=True, slots=True)
class Workplace:
    """What an attempt was `given` to work with, and the order that it works under, None for no work order."""

    run: RunContext
    given: AttemptTools

    @property
    def work(self) -> WorkOrder | None:
        """The order that the attempt works under; None where it has none."""
        return self.given.work or self.run.request.work

    @property
    def folder(self) -> Path | None:
        """Where its tools work; None where there is no such place."""
        work = self.work
        return None if work is None or not work.built_in else work.folder

    async def fitted(self, under_way: UnderWay) -> UnderWay:
        """Fit an attempt that goes on to what it finds: its results to the window, itself to its files."""
        brought = [message.result for message in under_way.handed_in if message.result is not None]
        fit = self.given.rules.fit
        texts = {
            result.call_id: await fit(ToolCall(result.call_id, result.name, {}), result.text)
            for result in brought
        }
        under_way = under_way.with_texts(texts)
        if self.given.work is not None and not self.given.as_left:
            under_way = under_way.without_its_files()
        return under_way

    async def settle(self, *, accepted: bool | None) -> None:
        """Merge a work directory of the attempt's own, or put it aside: once the attempt is durable.

        `accepted` is None where the attempt was interrupted, and may go on.
        """
        if self.given.settle is not None:
            for warning in await self.given.settle(accepted):
                self.run.emit.warn(warning)


@asynccontextmanager
async def open_workplace(
    run: RunContext, tier: Tier, emit: Emitter, *, goes_on: bool
) -> AsyncGenerator[Workplace, None]:
    """Open what an attempt at the tier works with; `goes_on` where it is taken up.

    Raises `UsageError` where the work directory cannot be used.
    """
    async with run.tools.source.open(_for_source(run, goes_on=goes_on), tier, run.session_id) as given:
        for warning in given.warnings:
            emit.warn(warning)
        yield Workplace(run, given)


def _for_source(run: RunContext, *, goes_on: bool) -> RunRequest:
    """Return the request as a source of tools is to know it: whose it is, and whether it is taken up."""
    work = run.request.work
    if work is None:
        return run.request
    return replace(run.request, work=replace(work, run_id=run.run_id, goes_on=goes_on))
