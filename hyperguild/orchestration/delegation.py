"""The tool `delegate`: hands independent tasks to other skills, as runs of their own in the same session.

Start-up counts: only a walk whose chain lets it delegate imports this.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from hyperguild.agent.gate import Gate
from hyperguild.agent.permissions import PermissionContext
from hyperguild.agent.rules import parse_rules
from hyperguild.agent.source import SkillBook
from hyperguild.agent.terms import Left
from hyperguild.agent.toolbox import CallRules
from hyperguild.domain.agent import AgentPolicy, PermissionMode
from hyperguild.domain.chain import Chain, Tier
from hyperguild.domain.events import Event, RunFinished
from hyperguild.domain.records import Attempt, ModelUse, RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.text import clipped, clipped_tail, one_line
from hyperguild.domain.tools import ToolCall, ToolError, ToolSpec
from hyperguild.domain.usage import CHARS_PER_TOKEN
from hyperguild.errors import HyperguildError, UsageError
from hyperguild.ports import Approver, EventSink, Tool, ToolContext
from hyperguild.skills.tool_names import DELEGATE

MOST_TASKS = 7

PURPOSE_CHARS = 160
LISTED_CHARS = 800
"""Of what the skills are for: of one of them, and of all together; OpenAI takes 1,024 for the whole."""

REASON_CHARS = 400
TASK_CHARS = 100
"""Of a task in its report: the model has written it, and needs to know only which one it was."""

UNKNOWN_WINDOW_CHARS = 16 * 1024
SHARE_OF_WINDOW = 4
"""All reports together may take up a quarter of the window: less than a result may, so that none is cut."""

_STRICTEST_FIRST: Final[tuple[PermissionMode, ...]] = (
    "deny",
    "plan",
    "default",
    "auto",
    "accept_edits",
    "bypass",
)


class Spender(Protocol):
    """An attempt on whose behalf others spend."""

    def left(self) -> Left:
        """Return what they may use now."""
        ...

    def count(self, use: ModelUse) -> None:
        """Count what one of them has used."""
        ...


@dataclass(frozen=True, slots=True)
class Delegator:
    """Who delegates: a run, and the attempt of it that is under way once the tool is called.

    `own_folder`: the work directory of its request is a folder of its own, as a worktree is.
    """

    request: RunRequest
    run_id: str
    session_id: str
    tier: Tier
    attempt: Callable[[], Spender]
    own_folder: bool = False

    @property
    def mode(self) -> PermissionMode:
        """The permission mode that its own tools are under."""
        work = self.request.work
        return (None if work is None else work.permission_mode) or self.tier.agent.permission_mode


@dataclass(frozen=True, slots=True)
class Guildmates:
    """Who runs what is delegated: the skills, and a walk of a request whose events go to a sink."""

    book: SkillBook
    sink: EventSink
    walk: Callable[[RunRequest, EventSink], Awaitable[RunResult]]
    approver: Approver | None


class Delegation:
    """What the delegation of one attempt comes to: its tools (none or one), its permission, warnings."""

    def __init__(self, tools: tuple[Tool, ...], gate: Gate, warnings: tuple[str, ...]) -> None:
        self.tools = tools
        self.warnings = warnings
        self._gate = gate

    def beside(self, rules: CallRules) -> CallRules:
        """Return the rules of the other tools, joined by those of `delegate`."""

        async def permit(call: ToolCall, spec: ToolSpec) -> str | None:
            own = any(tool.spec is spec for tool in self.tools)
            return await (self._gate.refusal(call, spec) if own else rules.permit(call, spec))

        return replace(rules, permit=permit)


async def open_delegation(delegator: Delegator, mates: Guildmates) -> Delegation:
    """Look the skills up that the tier may delegate to; those that cannot be run are warned of.

    No tool where there is none of them, the model takes no tools, or the lists of tools of the run or of its
    skill leave `delegate` out.
    """
    agent, work = delegator.tier.agent, delegator.request.work
    rules, _ = parse_rules({"allow": agent.rules.allow, "ask": agent.rules.ask, "deny": agent.rules.deny})
    gate = Gate(PermissionContext(mode=delegator.mode, rules=rules), mates.approver)
    limit = None if work is None else work.only_tools
    listed = limit is None or any(fnmatchcase(DELEGATE, glob) for glob in limit)
    if not (listed and delegator.tier.model.tools):
        return Delegation((), gate, ())
    purposes, warnings = await asyncio.to_thread(_look_up, delegator, mates.book)
    tools = (DelegateTool(delegator, mates, purposes),) if purposes else ()
    return Delegation(tools, gate, warnings)


def _look_up(delegator: Delegator, book: SkillBook) -> tuple[dict[str, str], tuple[str, ...]]:
    if not book.may_use(delegator.request.skill, DELEGATE):
        return {}, ()
    purposes: dict[str, str] = {}
    warnings = []
    for skill in delegator.tier.agent.delegate:
        try:
            purposes[skill] = book.purpose(skill)
        except HyperguildError as error:
            hint = f" ({error.hint})" if error.hint else ""
            warnings.append(f"nothing can be delegated to {skill}: {error.message}{hint}")
    return purposes, tuple(warnings)


@dataclass(frozen=True, slots=True)
class _Report:
    """What became of one task, as the model is told."""

    status: str
    answer: str | None = None
    model: str | None = None
    failure: str = ""


class DelegateTool:
    """The tool `delegate`; implements `ports.Tool`.

    Where the delegated runs can only read, because there is no work directory or by permission mode `plan`,
    the effect is `read`; else `exec`, since they may do what their own tools do: neighbouring calls wait, and
    the mode decides as it does of commands. Calls wait for each other in any case.
    """

    def __init__(self, delegator: Delegator, mates: Guildmates, purposes: Mapping[str, str]) -> None:
        self._delegator = delegator
        self._mates = mates
        self._one_at_a_time = asyncio.Lock()
        only_reads = delegator.request.work is None or delegator.mode == "plan"
        self.spec = ToolSpec(
            DELEGATE,
            _description(purposes),
            _parameters(tuple(purposes)),
            effect="read" if only_reads else "exec",
            untimed=True,
        )

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Run the tasks at once; return a report of each, as JSON, in their order.

        Raises `ToolError` where all failed, or none could begin. Cancelling stops all of them; each is
        recorded as cancelled.
        """
        await context.barrier.passed()
        skill, tasks = str(arguments["skill"]), [str(task) for task in arguments["tasks"]]
        async with self._one_at_a_time:
            left = self._delegator.attempt().left()
            share_usd = None if left.cost_usd is None else left.cost_usd / len(tasks)
            share = Left(left.seconds, share_usd)
            try:
                requests = await asyncio.to_thread(self._requests, skill, tasks, share)
            except HyperguildError as error:
                raise ToolError(f"nothing can be delegated to {skill}: {error.message}") from error
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self._run_one(request)) for request in requests]
        reports = [run.result() for run in running]
        text = self._told(tasks, reports)
        if all(report.answer is None for report in reports):
            raise ToolError(text)
        return text

    async def _run_one(self, request: RunRequest) -> _Report:
        sink = _Counting(self._mates.sink, self._delegator.attempt())
        try:
            result = await self._mates.walk(request, sink)
        except RunError as error:
            return _Report(error.result.status, failure=error.message)
        except HyperguildError as error:
            return _Report("failed", failure=error.message)
        if result.output is None:
            return _Report(result.status, failure="it cannot be waited for")
        return _Report(result.status, result.output, result.model)

    def _requests(self, skill: str, tasks: Sequence[str], share: Left) -> list[RunRequest]:
        """Return the runs of the tasks: in the place of the delegator, with no more than it has itself."""
        delegator = self._delegator
        asked = [self._mates.book.request(skill, task, delegator.request.work) for task in tasks]
        return [
            replace(
                request,
                session_id=delegator.session_id,
                parent_run_id=delegator.run_id,
                local_only=delegator.request.local_only,
                chain=_bounded(request.chain, delegator, share),
            )
            for request in asked
        ]

    def _told(self, tasks: Sequence[str], reports: Sequence[_Report]) -> str:
        window = self._delegator.tier.model.context_window
        whole = UNKNOWN_WINDOW_CHARS if window is None else window * CHARS_PER_TOKEN // SHARE_OF_WINDOW
        room = max(whole // len(reports) - 2 * TASK_CHARS, TASK_CHARS)
        lines = (
            json.dumps(_shown(*pair, room), ensure_ascii=False) for pair in zip(tasks, reports, strict=True)
        )
        return "[" + ",\n".join(lines) + "]"


class _Counting:
    """Passes the events of a delegated run on, and counts what it used once it has ended, however it did."""

    def __init__(self, inner: EventSink, spender: Spender) -> None:
        self._inner = inner
        self._spender = spender

    def emit(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            for use in uses_of(event.result):
                self._spender.count(use)
        self._inner.emit(event)


def uses_of(result: RunResult) -> list[ModelUse]:
    """Return what the models of a delegated run used, judges and whom hooks asked included."""
    return [use for attempt in result.attempts for use in _uses(attempt)]


def _uses(attempt: Attempt) -> list[ModelUse]:
    verifier = attempt.verifier
    uses = [ModelUse(model=attempt.model, purpose="delegate", usage=attempt.usage, cost_usd=attempt.cost_usd)]
    if verifier.model is not None:
        uses.append(
            ModelUse(
                model=verifier.model, purpose="delegate", usage=verifier.usage, cost_usd=verifier.cost_usd
            )
        )
    uses += [aside.model_copy(update={"purpose": "delegate"}) for aside in attempt.asides]
    return [] if attempt.verdict == "skip" else uses


def _bounded(chain: Chain, delegator: Delegator, share: Left) -> Chain:
    """Return the chain with no tier that the delegator may not have, and no limit above its share.

    Raises `UsageError` where no tier is left.
    """
    tiers = [tier for tier in chain.tiers if tier.model.label == "local" or not delegator.request.local_only]
    if not tiers:
        raise UsageError(f"the chain {chain.name} has no local tier, and the run may use no other")
    bounded = (
        replace(tier, position=position, agent=_bounded_policy(tier.agent, delegator))
        for position, tier in enumerate(tiers)
    )
    budget = chain.budget.tightened(cost_usd=share.cost_usd, seconds=share.seconds)
    return replace(chain, tiers=tuple(bounded), budget=budget)


def _bounded_policy(agent: AgentPolicy, delegator: Delegator) -> AgentPolicy:
    """Return the policy under no laxer mode; beside an attempt in a folder of its own, it works there."""
    mode = min(agent.permission_mode, delegator.mode, key=_STRICTEST_FIRST.index)
    return replace(
        agent, permission_mode=mode, workspace="shared" if delegator.own_folder else agent.workspace
    )


def _shown(task: str, report: _Report, room: int) -> dict[str, str | None]:
    shown: dict[str, str | None] = {"task": one_line(task, TASK_CHARS), "status": report.status}
    if report.answer is None:
        return {**shown, "failure": one_line(report.failure, min(REASON_CHARS, room))}
    answer = report.answer
    if len(answer) > room:
        left_out = f"\n[… {len(answer) - room} characters left out …]\n"
        answer = clipped(answer, room // 2) + left_out + clipped_tail(answer, room // 2)
    return {**shown, "model": report.model, "answer": answer}


def _description(purposes: Mapping[str, str]) -> str:
    room = min(LISTED_CHARS // len(purposes), PURPOSE_CHARS)
    lines = [one_line(f"{skill}: {purpose}", max(room, len(skill))) for skill, purpose in purposes.items()]
    return "\n".join(
        ["Hand independent tasks to another skill. They run at once and see nothing but their text.", *lines]
    )


def _parameters(skills: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "skill": {"type": "string", "enum": list(skills)},
            "tasks": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "minItems": 1,
                "maxItems": MOST_TASKS,
                "description": "Each with all that is needed to do it.",
            },
        },
        "required": ["skill", "tasks"],
        "additionalProperties": False,
    }
