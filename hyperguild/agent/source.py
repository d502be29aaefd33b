"""Where the tools of an attempt come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from hyperguild.agent.toolbox import CallRules, no_rules
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Tier
from hyperguild.domain.run import RunRequest
from hyperguild.ports import Tool


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """What one attempt works with. `warnings` say, each in one line, which tools are missing and why.

    `work` is the order that they work under, where that is not the request's: in a folder of their own;
    `as_left` says that it holds what an attempt that is taken up had changed before.
    `settle` is awaited once the attempt is recorded, with whether its answer was accepted, None where the
    attempt was interrupted and may go on: a work directory of the attempt's own is then merged, or put aside.
    It returns warnings for a person.
    """

    tools: tuple[Tool, ...]
    rules: CallRules
    warnings: tuple[str, ...] = ()
    work: WorkOrder | None = None
    as_left: bool = False
    settle: Callable[[bool | None], Awaitable[tuple[str, ...]]] | None = None


class NoTools:
    """The `ToolSource` of runs without a work order."""

    @asynccontextmanager
    async def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        """Give nothing."""
        del request, tier, session_id
        yield AttemptTools((), no_rules())


class ToolSource(Protocol):
    """Makes the tools of attempts."""

    def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AbstractAsyncContextManager[AttemptTools]:
        """Give the tools that the request and the tier ask for, for the time of one attempt.

        None of them where the request has no work order, or neither skill nor chain asks for any. Raises
        `UsageError` where the work directory cannot be used.
        """
        ...


class SkillBook(Protocol):
    """Knows the skills that tasks may be delegated to. Its methods may read files: call them in a thread."""

    def may_use(self, skill: str, tool: str) -> bool:
        """Tell whether the `allowed-tools` of a skill leave room for a tool; so it is where it has none."""
        ...

    def purpose(self, skill: str) -> str:
        """Return what a skill is for. Raises `HyperguildError` where it cannot be run."""
        ...

    def request(self, skill: str, task: str, work: WorkOrder | None) -> RunRequest:
        """Return the run of a task, with the chain of its skill.

        `work` is that of the run that delegates: the same holds for this one, within the limits of its own
        skill. Raises `HyperguildError`.
        """
        ...
