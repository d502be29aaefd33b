"""Checks and judge, joined into one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.domain.chain import Judge, VerifierSpec
from hyperguild.domain.records import CheckResult, JudgeUse, Verdict
from hyperguild.errors import VerifierError
from hyperguild.inference.call import ModelCaller
from hyperguild.ports import IdSource
from hyperguild.verification.checks import run_checks
from hyperguild.verification.judge import Judgement, JudgePanel, LeftUsd, no_limit
from hyperguild.verification.subject import Subject
from hyperguild.verification.watch import VerifierWatch


class Verifier:
    """Verifies the answers of one run, and remembers in it which judges failed: they are not asked again."""

    def __init__(self, caller: ModelCaller, ids: IdSource) -> None:
        self._caller = caller
        self._ids = ids
        self._erred: dict[str, str] = {}

    async def verify(
        self, spec: VerifierSpec, subject: Subject, watch: VerifierWatch, left_usd: LeftUsd = no_limit
    ) -> Verdict:
        """Run the checks and, if all pass, ask the judge. Where the verifier fails, the verdict says so.

        A failed check escalates (`check_failed`) with all failures as feedback. A check that is itself at
        fault escalates (`verifier_error`), whatever `judge.on_error` says: no answer was ever checked.
        Raises `BudgetRefusedError` where a limit does not allow a verdict, whatever it says, too; `left_usd`
        tells at any moment what the verdict may still cost.
        Cancelling kills a check's program and drops a judge's call.
        """
        report = await run_checks(spec.checks, subject, watch.on_check)
        fault = f"verifier {spec.name}: {report.fault.message}" if report.fault else None
        if report.failures:
            return Verdict(
                kind="escalate",
                cause="check_failed",
                feedback=_listed(report.failures),
                checks=report.results,
                warning=fault,
            )
        if report.fault is not None:
            return Verdict(
                kind="escalate",
                cause="verifier_error",
                feedback=f"verifier error: {report.fault.message}",
                checks=report.results,
                warning=fault,
            )
        if spec.judge is None:
            return Verdict(kind="accept", checks=report.results)
        verdict = await self._judged(spec.judge, subject, watch, left_usd)
        return verdict.model_copy(update={"checks": report.results})

    async def _judged(
        self, judge: Judge, subject: Subject, watch: VerifierWatch, left_usd: LeftUsd
    ) -> Verdict:
        panel = JudgePanel(
            judge,
            subject,
            caller=self._caller,
            ids=self._ids,
            watch=watch,
            erred=self._erred,
            left_usd=left_usd,
        )
        try:
            return _of(await panel.decide(), panel.use)
        except VerifierError as error:
            failure = error
        if judge.on_error == "retry":
            watch.on_warning(f"{failure.message}; asking once more")
            self._erred.clear()
            try:
                return _of(await panel.decide(), panel.use)
            except VerifierError as error:
                failure = error
        if judge.on_error == "accept":
            return Verdict(
                kind="accept",
                judge=panel.use,
                warning=f"accepted unjudged, as on_error has it: {failure.message}",
            )
        return Verdict(
            kind="escalate",
            cause="verifier_error",
            feedback=f"verifier error: {failure.message}",
            judge=panel.use,
            warning=f"escalated only because no judge could be had: {failure.message}",
        )


def _of(judgement: Judgement, use: JudgeUse) -> Verdict:
    return Verdict(
        kind="accept" if judgement.accepted else "escalate",
        cause=None if judgement.accepted else "rejected",
        score=judgement.score,
        feedback=judgement.feedback,
        judge=use,
    )


def _listed(failures: Sequence[CheckResult]) -> str:
    return "\n".join(f"check {failure.kind} failed: {failure.message}" for failure in failures)
