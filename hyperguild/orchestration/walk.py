"""Performs what `decide` decides: probes, tries, records, and ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from hyperguild.agent.hooks import HooksIn, no_hooks
from hyperguild.agent.source import AttemptTools, SkillBook, ToolSource
from hyperguild.agent.terms import LoopTools
from hyperguild.agent.toolbox import Toolbox
from hyperguild.domain.chain import Model, Tier
from hyperguild.domain.events import (
    AttemptFinished,
    AttemptStarted,
    Probed,
    Route,
    RoutedTier,
    RunFinished,
    RunStarted,
    VerdictGiven,
    Warned,
)
from hyperguild.domain.limits import Limits, Refusal, Standing
from hyperguild.domain.messages import Message
from hyperguild.domain.records import (
    Attempt,
    BudgetExceededError,
    ChainExhaustedError,
    ErrorInfo,
    RunResult,
    RunStart,
    RunStatus,
    Step,
    UnrecordedRunError,
    WarmState,
)
from hyperguild.domain.run import RunRequest
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolCall
from hyperguild.domain.usage import CHARS_PER_TOKEN, Usage, total_cost_usd
from hyperguild.errors import StoreError, UsageError
from hyperguild.inference.background import background
from hyperguild.inference.call import ModelCaller
from hyperguild.orchestration.attempt import CANCELLED, AttemptPlan, AttemptUnderWay, Outcome, Pause
from hyperguild.orchestration.decide import Accept, GiveUp, Probe, Situation, Skip, Try, decide, next_tier
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.feedback import disarmed, fold, nonce_for
from hyperguild.orchestration.metering import Payer, RunMeter
from hyperguild.orchestration.remedies import after_exhaustion, remedies
from hyperguild.orchestration.resume import Continuation, handed_in, prompt_record
from hyperguild.ports import Approver, BreakerStore, Clock, EventSink, IdSource, SessionStore
from hyperguild.verification.verifier import Verifier

LEASE_S = 15.0
"""How long a run counts as alive after its last sign of life: three renewals."""

CAUSE_CHARS = 120
"""Of a refusal's feedback in the one line that an exhausted chain gets; the log has the whole."""

RENEW_EVERY_S = 5.0
"""How often a run renews its lease (contract, section 4)."""


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Tools:
    """What a walk works with; all of it may be shared by concurrent walks.

    `models` finds a model that a hook names; it raises `ConfigError`. Without `skills` nothing is delegated.
    `limits` are those that all runs share; `meter` is that of the run that delegates this one.
    """

    caller: ModelCaller
    store: SessionStore
    clock: Clock
    ids: IdSource
    source: ToolSource
    hooks: HooksIn = no_hooks
    models: Callable[[str], Model] | None = None
    skills: SkillBook | None = None
    approver: Approver | None = None
    limits: Limits = NO_LIMITS
    meter: RunMeter | None = None


async def walk(
    request: RunRequest, tools: Tools, sink: EventSink, continuation: Continuation | None = None
) -> RunResult:
    """Take a request through its chain; return the result of an accepted or best-effort run.

    Or of one that pauses, `awaiting_tools`, until the results of `pending_tool_calls` are brought. A run that
    is continued keeps its id, its attempts and what it has cost; the seconds of its budget begin anew.

    Raises `ChainExhaustedError` or `BudgetExceededError`, both with the result; also `UsageError` where a
    run that is to be continued is under way elsewhere, or has ended, or where an attempt's work directory
    cannot be used, which the log has as an interrupted run. Every attempt is durable before the next one
    begins and before this returns. Cancelling stops the model call at once, records the attempt under way
    and the run as `cancelled`, and passes on.

    Raises `StoreError` where the log cannot be written as the run begins, before any model is asked; where
    it fails later, `UnrecordedRunError` with the result as far as the run came: no further attempt is made,
    an answer that was accepted is in it, and what was recorded before stays. That goes for a run that is
    cancelled, too.
    """
    if continuation is not None:
        # Not within the walk: a run that is another process's is not to be recorded as cancelled.
        await tools.store.resume_run(continuation.run_id, tools.clock.now() + timedelta(seconds=LEASE_S))
    return await _Walk(request, tools, sink, continuation).run()


class _Walk:
    def __init__(
        self, request: RunRequest, tools: Tools, sink: EventSink, continuation: Continuation | None
    ) -> None:
        self._request = request
        self._chain = request.chain
        self._continued = continuation
        self._under_way = continuation.under_way if continuation is not None else None
        self._run_id = continuation.run_id if continuation is not None else tools.ids.new_id()
        self._session_id = request.session_id or tools.ids.new_id()
        self._began = tools.clock.monotonic()
        self._sink = sink
        self._emit = Emitter(sink, tools.clock, session_id=self._session_id, run_id=self._run_id)
        self._attempts: list[Attempt] = [] if continuation is None else list(continuation.attempts)
        self._meter = self._own_meter(tools)
        self._refused: list[Refusal] = []
        if self._meter is not None:
            tools = replace(tools, caller=tools.caller.metered(self._meter), meter=self._meter)
        self._tools = tools
        self._verifier = Verifier(tools.caller, tools.ids)
        self._warned: set[str] = set()
        self._uncounted = continuation is not None
        self._has_begun = continuation is not None
        self._cancelled = False
        self._reached: RunResult | None = None
        self._task = request.task.rendered()
        self._task_tokens = _tokens(self._prompt(self._task))

    def _own_meter(self, tools: Tools) -> RunMeter | None:
        parent_run_id = self._request.parent_run_id
        used = sum(attempt.whole_usage.tokens for attempt in self._attempts)
        if self._under_way is not None:
            used += self._under_way.resumption.usage.tokens
            used += sum(usage.tokens for _, usage in self._under_way.asides)
        return RunMeter.of_run(
            Payer(self._run_id, self._session_id, delegated=parent_run_id is not None),
            (self._chain.budget.tokens, used),
            None if parent_run_id is None else tools.meter,
            (tools.store.ledger, tools.limits) if tools.limits.shared else None,
            tools.ids,
        )

    async def run(self) -> RunResult:
        try:
            return await self._recorded()
        except StoreError as error:
            if not self._has_begun:
                raise
            result = self._reached or self._as_far_as_it_came()
            self._emit(RunFinished, result=result)
            raise UnrecordedRunError(error, result) from error

    async def _recorded(self) -> RunResult:
        """Run, with the log written before every step that follows from it. Raises `StoreError`."""
        try:
            if self._continued is None:
                await self._tools.store.start_run(self._start())
            self._has_begun = True
            parent_run_id = self._request.parent_run_id
            self._emit(
                RunStarted, skill=self._request.skill, chain=self._chain.name, parent_run_id=parent_run_id
            )
            self._emit(Route, tiers=tuple(_routed(tier) for tier in self._chain.tiers))
            async with background(self._keep_lease()):
                await self._know_breakers()
                await self._apply_what_was_accepted()
                ending = await self._to_the_end()
        except asyncio.CancelledError:
            await self._finish("cancelled", None)
            raise
        except UsageError:  # the work directory cannot be used
            await self._finish("interrupted", None)
            raise
        return await self._conclude(ending)

    async def _to_the_end(self) -> Accept | GiveUp | Pause:
        while True:
            tier = next_tier(self._chain, self._attempts)
            prompt = self._prompt(self._told(tier)) if tier is not None else ()
            standings = () if self._meter is None else await self._meter.standings()
            situation = self._situation(prompt, standings)
            decision = decide(situation)
            if isinstance(decision, Accept | GiveUp):
                return decision
            attempt_id = self._begin_attempt(decision.tier)
            warm_state: WarmState | None = None
            while isinstance(decision, Probe):
                warm_state = await self._probe(decision.tier)
                # What was begun goes on, however cold its model has become.
                known: WarmState = warm_state if self._under_way is None else "ready"
                decision = decide(replace(situation, warm_state=known))
            match decision:
                case Skip():
                    self._refused += decision.refused
                    await self._skip(decision, attempt_id, warm_state)
                case Try():
                    pause = await self._try(self._plan(decision, attempt_id, prompt, warm_state))
                    if pause is not None:
                        return pause
            self._under_way = None

    async def _apply_what_was_accepted(self) -> None:
        """Apply what an attempt changed that was accepted as the run was left: on record, but not applied."""
        last = self._attempts[-1] if self._attempts else None
        work = self._request.work
        if last is None or last.verdict != "accept" or work is None:
            return
        tier = self._chain.tiers[last.position]
        if tier.agent.workspace == "shared":
            return
        request = self._for_source(goes_on=True)
        async with self._tools.source.open(request, tier, self._session_id) as given:
            for warning in given.warnings:
                self._emit(Warned, message=warning)
            if given.as_left:
                await self._settle(given, accepted=True)

    async def _conclude(self, ending: Accept | GiveUp | Pause) -> RunResult:
        if isinstance(ending, Pause):
            return await self._finish("awaiting_tools", None, ending)
        if isinstance(ending, Accept):
            return await self._finish("accepted", ending.attempt)
        result = await self._finish(ending.status, ending.best)
        if ending.status == "budget_exceeded":
            raise BudgetExceededError(
                f"budget or deadline spent before an answer was accepted: {self._causes()}",
                result=result,
                hint=self._what_to_raise(),
            )
        if ending.status == "exhausted":
            raise ChainExhaustedError(
                f"no answer was accepted: {self._causes()}",
                result=result,
                hint=after_exhaustion(self._chain, self._attempts, self._tools.caller.breakers.again),
            )
        return result

    def _begin_attempt(self, tier: Tier) -> str:
        going_on = self._under_way
        if self._meter is not None:
            self._meter.begin_attempt()
        self._emit.attempt_id = self._tools.ids.new_id() if going_on is None else going_on.attempt_id
        self._emit(
            AttemptStarted,
            position=tier.position,
            model=tier.model.name,
            tier=tier.model.label,
            endpoint=tier.model.endpoint.name,
        )
        return self._emit.attempt_id

    async def _probe(self, tier: Tier) -> WarmState:
        warm_state = await self._tools.caller.warm_state(tier.model) or "unknown"
        self._emit(Probed, position=tier.position, model=tier.model.name, warm_state=warm_state)
        return warm_state

    def _plan(
        self,
        decision: Try,
        attempt_id: str,
        prompt: tuple[Message, ...],
        warm_state: WarmState | None,
    ) -> AttemptPlan:
        return AttemptPlan(
            attempt_id=attempt_id,
            tier=decision.tier,
            messages=prompt,
            skill_prompt=self._request.system_prompt,
            original_task=self._task,
            verifier=self._chain.verifier,
            warm_state=warm_state,
            time_left_s=decision.time_left_s,
            cost_left_usd=decision.cost_left_usd,
            verdict_usd=decision.verdict_usd,
            under_way=self._under_way,
            tool_choice="auto" if self._request.work is None else self._request.work.tool_choice,
        )

    async def _try(self, plan: AttemptPlan) -> Pause | None:
        """Make the attempt and record it; or return why it pauses."""
        tools = self._tools
        began = tools.clock.monotonic()
        request = self._for_source(goes_on=plan.under_way is not None)
        async with tools.source.open(request, plan.tier, self._session_id) as given:
            for warning in given.warnings:
                self._emit(Warned, message=warning)
            if plan.time_left_s is not None:  # servers of tools may have had to be started
                passed_s = tools.clock.monotonic() - began
                plan = replace(plan, time_left_s=max(plan.time_left_s - passed_s, 0.0))
            plan = await self._taken_up(plan, given)
            work = given.work or self._request.work
            folder = None if work is None or not work.built_in else work.folder
            plan = replace(plan, folder=folder)
            extended = await self._with_delegation(given, plan.tier, lambda: under_way)
            toolbox = Toolbox(extended.tools, extended.rules, tools.clock, self._request.external_tools)
            loop_tools = LoopTools(
                tools.caller, toolbox, tools.clock, tools.ids, tools.hooks(folder), tools.models
            )
            under_way = AttemptUnderWay(plan, self._emit, loop_tools, self._keep_step)
            if self._uncounted and plan.tier.agent.delegate:
                await self._count_delegated_before(under_way)
            self._uncounted = False
            try:
                attempt = await under_way.run(self._verifier)
            except asyncio.CancelledError:
                self._cancelled = True
                await self._record_work(given, under_way.record(CANCELLED), under_way.open_steps)
                await self._settle(given, accepted=None)
                raise
            except StoreError as error:
                self._attempts.append(under_way.record(_cut_off_by(error)))
                await self._settle(given, accepted=None)
                raise
            if isinstance(attempt, Pause):
                await self._settle(given, accepted=None)
                return attempt
            await self._record_work(given, attempt, under_way.open_steps)
            await self._settle(given, accepted=attempt.verdict == "accept")
            return None

    async def _taken_up(self, plan: AttemptPlan, given: AttemptTools) -> AttemptPlan:
        """Fit what goes on to what it finds: what its caller brings to the window, itself to its files.

        What it has not been told before is durable before anything is done with it.
        """
        under_way = plan.under_way
        if under_way is None:
            return plan
        brought = [message.result for message in under_way.handed_in if message.result is not None]
        texts = {
            result.call_id: await given.rules.fit(ToolCall(result.call_id, result.name, {}), result.text)
            for result in brought
        }
        under_way = under_way.with_texts(texts)
        if given.work is not None and not given.as_left:
            under_way = under_way.without_its_files()
        if under_way.handed_in:
            await self._keep_step(handed_in(under_way, self._tools.ids, self._tools.clock))
        return replace(plan, under_way=under_way)

    def _for_source(self, *, goes_on: bool) -> RunRequest:
        """Return the request as a source of tools is to know it: whose it is, and whether it is taken up."""
        work = self._request.work
        if work is None:
            return self._request
        return replace(self._request, work=replace(work, run_id=self._run_id, goes_on=goes_on))

    async def _with_delegation(
        self, given: AttemptTools, tier: Tier, attempt: Callable[[], AttemptUnderWay]
    ) -> AttemptTools:
        """Return the tools of an attempt and, where it may delegate, `delegate` beside them."""
        tools, request = self._tools, self._request
        if not tier.agent.delegate or tools.skills is None or request.parent_run_id is not None:
            return given
        from hyperguild.orchestration.delegation import (  # noqa: PLC0415  # start-up
            Delegator,
            Guildmates,
            open_delegation,
        )

        own_folder = given.work is not None
        delegating = replace(request, work=given.work or request.work)
        delegator = Delegator(delegating, self._run_id, self._session_id, tier, attempt, own_folder)
        mates = Guildmates(
            tools.skills, self._sink, lambda request, sink: walk(request, tools, sink), tools.approver
        )
        delegation = await open_delegation(delegator, mates)
        for warning in delegation.warnings:
            self._warn_once(warning)  # other tiers may delegate to the same skills
        return replace(given, tools=(*given.tools, *delegation.tools), rules=delegation.beside(given.rules))

    async def _count_delegated_before(self, under_way: AttemptUnderWay) -> None:
        """Count what the run had delegated since its last step that an attempt on record has counted.

        Ids sort by age. That may have been in a step that is not on record itself.
        """
        from hyperguild.orchestration.delegation import uses_of  # noqa: PLC0415  # start-up

        runs = await self._tools.store.session_runs(self._session_id)
        ended = {attempt.attempt_id for attempt in self._attempts}
        own = [step for run in runs if run.result.run_id == self._run_id for step in run.steps]
        counted = max((step.step_id for step in own if step.attempt_id in ended), default="")
        for stored in runs:
            if stored.parent_run_id == self._run_id and stored.result.run_id > counted:
                for use in uses_of(stored.result):
                    under_way.count(use)
                    if self._meter is not None:
                        self._meter.count(use.usage)

    async def _settle(self, given: AttemptTools, *, accepted: bool | None) -> None:
        """Merge a work directory of the attempt's own, or put it aside: once the attempt is durable."""
        if given.settle is not None:
            for warning in await given.settle(accepted):
                self._emit(Warned, message=warning)

    async def _keep_step(self, step: Step) -> None:
        await self._tools.store.record_step(self._run_id, step)

    async def _skip(self, decision: Skip, attempt_id: str, warm_state: WarmState | None) -> None:
        model = decision.tier.model
        used = Usage() if self._under_way is None else self._under_way.resumption.usage
        attempt = Attempt(
            attempt_id=attempt_id,
            position=decision.tier.position,
            model=model.name,
            tier=model.label,
            endpoint=model.endpoint.name,
            warm_state=warm_state,
            warm_start=warm_state == "ready",
            verdict="skip",
            cause=decision.cause,
            feedback=decision.reason,
            usage=used,
            cost_usd=0.0 if used == Usage() else model.cost_usd(used),
            started_at=self._tools.clock.now(),
        )
        self._emit(VerdictGiven, verdict="skip", cause=attempt.cause, feedback=attempt.feedback)
        await self._record(attempt, ())

    async def _record_work(self, given: AttemptTools, attempt: Attempt, steps: Sequence[Step]) -> None:
        """Record an attempt that had tools; where that fails, what it changed is not merged but put aside."""
        try:
            await self._record(attempt, steps)
        except StoreError:
            await self._settle(given, accepted=None)
            raise

    async def _record(self, attempt: Attempt, steps: Sequence[Step]) -> None:
        self._attempts.append(attempt)
        await self._tools.store.record_attempt(self._run_id, attempt, steps)
        await self._kept_breakers(self._tools.caller.breakers.save)
        self._emit(AttemptFinished, attempt=attempt)
        self._emit.attempt_id = None

    async def _finish(
        self, status: RunStatus, chosen: Attempt | None, pause: Pause | None = None
    ) -> RunResult:
        result = self._reached = self._result(status, chosen, pause)
        await self._tools.store.finish_run(result, self._tools.clock.now())
        self._emit(RunFinished, result=result)
        return result

    def _as_far_as_it_came(self) -> RunResult:
        last = self._attempts[-1] if self._attempts else None
        if last is not None and last.verdict == "accept":
            return self._result("accepted", last)
        return self._result("cancelled" if self._cancelled else "interrupted", None)

    def _result(self, status: RunStatus, chosen: Attempt | None, pause: Pause | None = None) -> RunResult:
        paused = () if pause is None else (pause.attempt,)
        attempts = (*self._attempts, *paused)
        answered = chosen if status in {"accepted", "best_effort"} else None
        return RunResult(
            run_id=self._run_id,
            session_id=self._session_id,
            skill=self._request.skill,
            chain=self._chain.name,
            status=status,
            output=answered.answer if answered else None,
            model=answered.model if answered else None,
            tier=answered.tier if answered else None,
            duration_ms=(self._continued.earlier_ms if self._continued else 0)
            + round(self._elapsed_s() * 1000),
            best_attempt_id=chosen.attempt_id if chosen else None,
            usage=_total_usage(attempts),
            cost_usd=total_cost_usd(cost for one in attempts for cost in one.costs_usd),
            attempts=tuple(self._attempts),
            pending_tool_calls=() if pause is None else pause.calls,
        )

    def _start(self) -> RunStart:
        now = self._tools.clock.now()
        return RunStart(
            run_id=self._run_id,
            session_id=self._session_id,
            skill=self._request.skill,
            chain=self._chain.name,
            task=self._task,
            images=len(self._request.task.images),
            parent_run_id=self._request.parent_run_id,
            options={**self._request.options, "prompt": prompt_record(self._request)},
            created_at=now,
            lease_expires_at=now + timedelta(seconds=LEASE_S),
        )

    def _told(self, tier: Tier) -> str:
        """Return the user message for a tier: the task, and feedback that leaves room in its window."""
        policy = self._chain.feedback
        window = self._tools.caller.known_window(tier.model)
        if window is not None:
            room = max(window - self._task_tokens, 0) * CHARS_PER_TOKEN // 2
            policy = replace(policy, max_chars=min(policy.max_chars, room))
        # A nonce of its own each time: an earlier model has seen the one in its own prompt.
        nonce = nonce_for(self._task, self._attempts, self._tools.ids.nonce)
        local = tier.model.label == "local"
        attempts = disarmed(self._task, self._attempts) if local else self._attempts
        return fold(self._task, attempts, policy, nonce)

    def _prompt(self, user_text: str) -> tuple[Message, ...]:
        request = self._request
        return (
            Message("system", request.system_prompt),
            *request.history,
            Message("user", user_text, request.task.images),
        )

    def _situation(self, prompt: tuple[Message, ...], standings: tuple[Standing, ...]) -> Situation:
        known = [cost or 0.0 for one in self._attempts for cost in one.costs_usd]
        caller, models = self._tools.caller, [tier.model for tier in self._chain.tiers]
        refusal = caller.breakers.refusal
        return Situation(
            chain=self._chain,
            attempts=tuple(self._attempts),
            task_tokens=self._task_tokens,
            prompt_tokens=_tokens(prompt),
            has_images=bool(self._request.task.images),
            elapsed_s=self._elapsed_s(),
            spent_usd=sum(known),
            windows={model.name: window for model in models if (window := caller.known_window(model))},
            breakers={model.name: why for model in models if (why := refusal(model))},
            standings=standings,
        )

    async def _keep_lease(self) -> None:
        clock = self._tools.clock
        while True:
            await clock.sleep(RENEW_EVERY_S)
            try:
                await self._tools.store.renew_lease(self._run_id, clock.now() + timedelta(seconds=LEASE_S))
            except StoreError as error:
                # A log that is busy for a moment must not cost an answer: the next renewal may succeed.
                self._emit(Warned, message=f"the run could not be marked as alive: {error.message}")

    async def _know_breakers(self) -> None:
        breakers = self._tools.caller.breakers
        await self._kept_breakers(breakers.load)
        if self._request.insist:
            breakers.let_try(tier.model for tier in self._chain.tiers)

    async def _kept_breakers(self, action: Callable[[BreakerStore], Awaitable[None]]) -> None:
        try:
            await action(self._tools.store)
        except StoreError as error:
            # They save time; a run that has to do without them is as good.
            self._warn_once(f"who failed before is not known to other runs: {error.message}")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._emit(Warned, message=message)

    def _causes(self) -> str:
        """Return one line that names every tier with what became of it."""
        reached = {attempt.position for attempt in self._attempts}
        tried = [f"{attempt.model} ({attempt.tier}): {_cause(attempt)}" for attempt in self._attempts]
        untried = [
            f"{tier.model.name} ({tier.model.label}): not tried"
            for tier in self._chain.tiers
            if tier.position not in reached
        ]
        return "; ".join([*tried, *untried])

    def _what_to_raise(self) -> str:
        budget = self._chain.budget
        if budget.seconds is not None and self._elapsed_s() >= budget.seconds:
            return "raise --deadline, or budget.seconds of the chain"
        refused = [*self._refused, *(() if self._meter is None else self._meter.refusals)]
        if refused:
            return remedies(refused)
        if any(attempt.cause == "budget" for attempt in self._attempts):
            return "raise --max-cost, or budget.cost_usd of the chain"
        return "raise budget.attempts of the chain"

    def _elapsed_s(self) -> float:
        return self._tools.clock.monotonic() - self._began


def _routed(tier: Tier) -> RoutedTier:
    model = tier.model
    return RoutedTier(
        position=tier.position, model=model.name, tier=model.label, endpoint=model.endpoint.name
    )


def _tokens(prompt: tuple[Message, ...]) -> int:
    return sum(message.estimated_tokens() for message in prompt)


def _total_usage(attempts: Sequence[Attempt]) -> Usage:
    total = Usage()
    for attempt in attempts:
        total = total + attempt.whole_usage
    return total


def _cut_off_by(error: StoreError) -> Outcome:
    return Outcome.failed(ErrorInfo(kind="cancelled", message=f"cut off: {error.message}"))


def _cause(attempt: Attempt) -> str:
    if attempt.error is not None:
        return f"{attempt.error.kind}: {attempt.error.message}"
    if attempt.verdict == "skip":
        return f"skipped ({attempt.cause}): {attempt.feedback}"
    score = "" if attempt.score is None else f", score {attempt.score:.2f}"
    return f"{attempt.cause}{score}: {one_line(attempt.feedback, CAUSE_CHARS)}"
