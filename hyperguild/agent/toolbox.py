"""Executes the tool calls of a step: who may run, what runs at once, what the model is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from hyperguild.agent.guesses import may_begin_early
from hyperguild.agent.hooks import Denied
from hyperguild.agent.speculation import EarlyCalls, EarlyRules
from hyperguild.agent.steering import Steering
from hyperguild.agent.transcript import interrupted
from hyperguild.domain.text import encodable, nearest, one_line
from hyperguild.domain.tools import ToolCall, ToolError, ToolResult, ToolSpec
from hyperguild.ports import Clock, Tool, ToolContext, WriteBarrier

READS_AT_ONCE = 8
"""So many read-only calls run at once; more would compete for one disk."""

FAULT_CHARS = 500

Permit = Callable[[ToolCall, ToolSpec], Awaitable[str | None]]
"""Says why a call may not run, None where it may; may ask somebody."""

FitResult = Callable[[ToolCall, str], Awaitable[str]]
"""Makes a result fit for the model's window; what is left out is kept elsewhere."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The results of a step's calls, in call order. `stopped_by` is the one that ends the attempt, if any.

    `pending` are the calls that the caller of the run executes; they have no result yet.
    """

    results: tuple[ToolResult, ...]
    stopped_by: ToolResult | None = None
    pending: tuple[ToolCall, ...] = ()


Observe = Callable[[ToolCall | ToolResult], None]
"""Is told of every call before it runs, as it runs, and of every result as it comes."""


Offer = Callable[[str, str], None]
"""Takes the id of a call, and a result that is likely but not yet certain."""


def _ignore_offer(call_id: str, text: str) -> None:
    del call_id, text  # results are started on early by speculation alone


@dataclass(frozen=True, slots=True)
class CallRules:
    """What holds for every call: permission, size of results, seconds that a tool may take.

    `early` holds for calls that are started on a guess; None: there are none.
    """

    permit: Permit
    fit: FitResult
    timeout_s: float
    early: EarlyRules | None = None


class GrantedBarrier:
    """The barrier of a call that the model itself has made: open."""

    async def passed(self) -> None:
        """Let the change be made."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What holds for the calls of one step; `pending` collects those that somebody else executes."""

    offered: Collection[str]
    observe: Observe
    steering: Steering
    early: EarlyCalls | None
    offer: Offer
    pending: list[ToolCall] = field(default_factory=list)


@dataclass(slots=True)
class _GroupTiming:
    """How long the calls of a group took by themselves, and how long they were waited for, in seconds."""

    early: bool = False
    longest_s: float = 0.0
    waited_s: float = 0.0

    def add(self, waited_s: float, early_s: float | None) -> None:
        """Take a call; `early_s` is what it took where it had been started early."""
        self.early = self.early or early_s is not None
        self.longest_s = max(self.longest_s, waited_s if early_s is None else early_s)
        self.waited_s = max(self.waited_s, waited_s)

    @property
    def saved_s(self) -> float:
        """What the group would have taken longer: its calls run at once."""
        return self.longest_s - self.waited_s


class Toolbox:
    """The tools of one attempt: ours, and those that the caller of the run executes (`external`).

    `execute` one step at a time. What is finished when it is cancelled is found in `finished`.
    """

    def __init__(
        self, tools: Sequence[Tool], rules: CallRules, clock: Clock, external: Sequence[ToolSpec] = ()
    ) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._specs = {spec.name: spec for spec in (*external, *(tool.spec for tool in tools))}
        self._rules = rules
        self._clock = clock
        self.finished: dict[str, ToolResult] = {}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What can be offered."""
        return tuple(self._specs.values())

    def spec(self, name: str) -> ToolSpec | None:
        """Return how a tool is offered, None where there is none of that name."""
        return self._specs.get(name)

    async def execute(
        self,
        calls: Sequence[ToolCall],
        offered: Collection[str],
        observe: Observe,
        steering: Steering,
        answered: Sequence[ToolResult] = (),
        early: EarlyCalls | None = None,
        offer: Offer = _ignore_offer,
    ) -> Batch:
        """Execute the calls of one step and return their results; failures are results, too.

        Those that are `answered` already are not executed, nor those that were started `early`.

        Neighbouring calls that only read run at once, all others one at a time, so that a read after a write
        sees it. Hooks see each call before it is checked, so that what runs is what was permitted. Cancelling
        stops the tools under way.
        """
        step = _Step(offered, observe, steering, early, offer)
        self.finished = {}
        for result in answered:
            observe(next(call for call in calls if call.id == result.call_id))
            self._done(result, observe)
        left = [call for call in calls if call.id not in self.finished]
        alone = next((call.name for call in left if self._is_exclusive(call)), None)
        if alone is not None and len(left) > 1:
            why = f"{alone} must be called alone: nothing was executed; call it again by itself"
            for call in left:
                observe(call)
                self._done(_failure(call, why), observe)
        else:
            for group in self._groups(left):
                await self._run_group(group, step)
        results = tuple(self.finished[call.id] for call in calls if call.id in self.finished)
        stopped_by = next((result for result in results if self._stops(result)), None)
        return Batch(results, stopped_by, tuple(step.pending))

    def so_far(self, calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
        """Return the results of a step that was interrupted; a call without any gets an error."""
        return tuple(self.finished.get(call.id) or interrupted(call) for call in calls)

    def _groups(self, calls: Sequence[ToolCall]) -> Iterator[list[ToolCall]]:
        """Yield the calls in order, neighbouring reads together."""
        for reads, group in groupby(calls, key=self._only_reads):
            if reads:
                yield list(group)
            else:
                yield from ([call] for call in group)

    async def _run_group(self, group: Sequence[ToolCall], step: _Step) -> None:
        permitted: list[tuple[ToolCall, Tool, bool]] = []
        for asked in group:  # one question at a time, before anything of the group runs
            steered = await step.steering.pre_tool(asked)
            call = asked if isinstance(steered, Denied) else steered
            step.observe(call)
            spec, tool = self._specs.get(call.name), self._tools.get(call.name)
            refusal = steered.reason if isinstance(steered, Denied) else self._fault(call, step.offered)
            if refusal is None and spec is not None:
                refusal = await self._rules.permit(call, spec)
            if refusal is not None or call.arguments is None:
                self._done(_failure(call, refusal or call.fault), step.observe)
            elif tool is not None:
                permitted.append((call, tool, call.arguments != asked.arguments))
            else:
                step.pending.append(call)
        room, timing = asyncio.Semaphore(READS_AT_ONCE), _GroupTiming()

        async def run(call: ToolCall, tool: Tool, *, rewritten: bool) -> None:
            async with room:
                result = await step.steering.post_tool(call, await self._result(call, tool, step, timing))
                text = await self._rules.fit(call, result.text)
                ran_with = call.arguments if rewritten else None
                self._done(replace(result, text=text, ran_with=ran_with), step.observe)

        async with asyncio.TaskGroup() as tasks:
            for call, tool, rewritten in permitted:
                tasks.create_task(run(call, tool, rewritten=rewritten))
        if step.early is not None and timing.early:
            step.early.save(timing.saved_s)

    async def _result(self, call: ToolCall, tool: Tool, step: _Step, timing: _GroupTiming) -> ToolResult:
        """Return the result of a call: of the one that was started early, or of executing it now."""
        if step.early is None:
            return await self._run(call, tool, GrantedBarrier(), partial(step.offer, call.id))
        began = self._clock.monotonic()
        taken = await step.early.take(call)
        if tool.spec.effect != "read":
            step.early.outdate()
        result = taken.result if taken is not None else None
        if result is None:
            result = await self._run(call, tool, GrantedBarrier(), partial(step.offer, call.id))
        waited_s = self._clock.monotonic() - began
        timing.add(waited_s, None if taken is None else taken.took_s)
        return result

    async def may_begin(self, call: ToolCall, offered: Collection[str]) -> bool:
        """Tell whether a call may be started early: offered, fit, read-only or barred, permitted unasked."""
        spec, early = self._specs.get(call.name), self._rules.early
        if spec is None or early is None or call.name not in self._tools or not may_begin_early(spec):
            return False
        return self._fault(call, offered) is None and await early.refusal(call, spec) is None

    async def stamp(self, call: ToolCall) -> Hashable | None:
        """Return what state of the world a call will read; None where that cannot be told."""
        return None if self._rules.early is None else await self._rules.early.stamp(call)

    async def carry_out(self, call: ToolCall, barrier: WriteBarrier) -> ToolResult:
        """Execute a call that `may_begin`, before anybody has asked for it. Hooks do not see it."""
        return await self._run(call, self._tools[call.name], barrier, partial(_ignore_offer, call.id))

    async def _run(
        self, call: ToolCall, tool: Tool, barrier: WriteBarrier, offer: Callable[[str], None]
    ) -> ToolResult:
        started_at = self._clock.now()
        context = ToolContext(barrier, offer)
        is_error, limit = True, asyncio.timeout(None if tool.spec.untimed else self._rules.timeout_s)
        try:
            async with limit:
                text = encodable(await tool.run(call.arguments or {}, context))
            is_error = False
        except ToolError as error:
            text = encodable(str(error)) or f"{call.name} failed"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            text = f"{call.name} gave up"  # something that it waited for was cancelled; we are not
        except Exception as error:  # noqa: BLE001  # a tool is foreign code: its fault is a result, not ours
            text = one_line(f"{call.name} failed: {type(error).__name__}: {error}", FAULT_CHARS)
            if limit.expired() and isinstance(error, TimeoutError):
                text = f"{call.name} did not finish within {self._rules.timeout_s:g} s and was stopped"
        return ToolResult(call.id, call.name, text, is_error, started_at, self._clock.now())

    def _fault(self, call: ToolCall, offered: Collection[str]) -> str | None:
        """Return why a call cannot be executed as it is."""
        spec = self._specs.get(call.name)
        if spec is None or call.name not in offered:
            near = nearest(call.name, offered)
            hint = f"; did you mean {near}?" if near else "."
            known = "is not available in this step" if spec is not None else "does not exist"
            names = ", ".join(offered) or "none"
            return f"the tool {one_line(call.name, 80)!r} {known}{hint} Available: {names}"
        if call.arguments is None:
            return call.fault
        return _misfit(call.arguments, spec)

    def _only_reads(self, call: ToolCall) -> bool:
        spec = self._specs.get(call.name)
        return spec is None or spec.effect == "read"

    def _is_exclusive(self, call: ToolCall) -> bool:
        spec = self._specs.get(call.name)
        return spec is not None and spec.exclusive

    def _stops(self, result: ToolResult) -> bool:
        spec = self._specs.get(result.name)
        return spec is not None and spec.stop_after and not result.is_error

    def _done(self, result: ToolResult, observe: Observe) -> None:
        self.finished[result.call_id] = result
        observe(result)


def no_rules() -> CallRules:
    """Return the rules of an attempt that is offered nothing, but what its caller executes."""

    async def refuse(call: ToolCall, spec: ToolSpec) -> str | None:
        del call
        return None if spec.external else "no tools are allowed here"

    async def whole(call: ToolCall, text: str) -> str:
        del call
        return text

    return CallRules(refuse, whole, timeout_s=1.0)


def _failure(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call.id, call.name, encodable(why), is_error=True)


def _misfit(arguments: Mapping[str, Any], spec: ToolSpec) -> str | None:
    """Return how the arguments miss the schema, None where they fit."""
    import jsonschema  # noqa: PLC0415  # start-up: most attempts have no tools

    validator = jsonschema.validators.validator_for(spec.parameters, default=jsonschema.Draft202012Validator)
    error = jsonschema.exceptions.best_match(validator(spec.parameters).iter_errors(dict(arguments)))
    if error is None:
        return None
    where = ".".join(str(part) for part in error.absolute_path)
    wanted = json.dumps(spec.parameters.get("properties", {}), ensure_ascii=False)
    return (
        f"bad arguments{f' at {where}' if where else ''}: {one_line(error.message, 200)}. "
        f"{spec.name} takes: {one_line(wanted, FAULT_CHARS)}"
    )
