"""The verification of one attempt's answer: its verdict, within the time and money that the run has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from hyperguild.agent.terms import LoopEnd
from hyperguild.domain.chain import VerifierSpec
from hyperguild.domain.events import CheckFinished, LoadWaiting
from hyperguild.domain.records import CheckResult, JudgeUse, Verdict
from hyperguild.domain.usage import total_cost_usd
from hyperguild.errors import BudgetRefusedError
from hyperguild.inference.events import Loading
from hyperguild.orchestration.attempt_terms import AttemptPlan
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.unfinished import unfinished
from hyperguild.ports import Clock
from hyperguild.verification.subject import Subject
from hyperguild.verification.verifier import Verifier
from hyperguild.verification.watch import VerifierWatch


class AnswerVerification:
    """Brings the answer of one attempt before the verifier; what is public is known at any moment.

    `began` is the moment of the attempt's beginning; `spent_usd` tells what it has cost without its verdict,
    None where nobody knows.
    """

    def __init__(
        self,
        plan: AttemptPlan,
        clock: Clock,
        emit: Emitter,
        began: float,
        spent_usd: Callable[[], float | None],
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._emit = emit
        self._attempt_began = began
        self._spent_usd = spent_usd
        self._began: float | None = None
        self._ms: int | None = None
        self.checks: list[CheckResult] = []
        self.judge_use = JudgeUse()

    @property
    def ms(self) -> int | None:
        """How long the verifier took, or has taken until now; None where it was not asked."""
        if self._ms is not None or self._began is None:
            return self._ms
        return self._ms_since(self._began)

    async def verdict(self, verifier: Verifier, end: LoopEnd, changes: str, *, offered: bool) -> Verdict:
        """Return what becomes of a non-empty answer.

        `changes` says what tools have changed, `offered` whether there were any. Where time or money runs
        out, the verdict says so. Cancelling stops checks and judges.
        """
        plan = self._plan
        refused = unfinished(end.finish_reason, plan.tier, offered=offered)
        spec = plan.verifier if plan.tier.verify else None
        if refused is not None and spec is not None:
            spec = replace(spec, judge=None)  # checks are free; a judge has nothing whole to judge
        if spec is None:
            checked = Verdict(kind="accept")
        else:
            self._began = self._clock.monotonic()
            checked = await self._verified(verifier, spec, end, changes)
            self._ms = self._ms_since(self._began)
        if refused is None:
            return checked
        feedback = "\n".join(part for part in (refused.feedback, checked.feedback) if part)
        return refused.model_copy(update={"feedback": feedback, "warning": checked.warning})

    async def _verified(self, verifier: Verifier, spec: VerifierSpec, end: LoopEnd, changes: str) -> Verdict:
        """Verify within the time that the run has left."""
        plan = self._plan
        subject = Subject(
            skill_prompt=plan.skill_prompt,
            task=plan.original_task,
            answer=end.text,
            finish_reason=end.finish_reason,
            changes=changes,
            folder=plan.folder,
        )
        left_s = plan.time_left_s
        if left_s is not None:
            left_s = max(left_s - (self._clock.monotonic() - self._attempt_began), 0.0)
        try:
            async with asyncio.timeout(left_s):
                return await verifier.verify(spec, subject, self._watch(), self._left_usd)
        except TimeoutError:
            return Verdict(
                kind="escalate",
                cause="budget",
                feedback="verifier error: the deadline of the run passed before there was a verdict",
            )
        except BudgetRefusedError as refused:
            return Verdict(kind="escalate", cause="budget", feedback=f"verifier error: {refused.message}")

    def _left_usd(self) -> float | None:
        """Return what may still be spent on the verdict, None for any sum."""
        plan = self._plan
        if plan.cost_left_usd is None:
            return None
        spent = total_cost_usd([self._spent_usd(), self.judge_use.cost_usd])
        return 0.0 if spent is None else max(plan.cost_left_usd + plan.verdict_usd - spent, 0.0)

    def _watch(self) -> VerifierWatch:
        def on_check(result: CheckResult) -> None:
            self.checks.append(result)
            self._emit(CheckFinished, check=result)

        def on_judge_loading(model: str, loading: Loading) -> None:
            self._emit(
                LoadWaiting, model=model, role="judge", waited_ms=loading.waited_ms, loaded=loading.loaded
            )

        def on_judge_use(use: JudgeUse) -> None:
            self.judge_use = use

        return VerifierWatch(on_check, on_judge_loading, on_judge_use, self._emit.warn)

    def _ms_since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1000)
