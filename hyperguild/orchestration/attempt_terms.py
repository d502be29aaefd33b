"""What an attempt is asked to do, and how it ends or pauses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperguild.domain.chain import Tier, VerifierSpec
from hyperguild.domain.messages import Message
from hyperguild.domain.records import Attempt, Cause, ErrorInfo, Verdict, VerdictKind, WarmState
from hyperguild.domain.tools import ToolChoice
from hyperguild.orchestration.resume import UnderWay


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """What to try: a tier, the prompt for it, and what the verifier may see of the request.

    `cost_left_usd` is for the answer; `verdict_usd` was set aside for its verdict. `folder` is where tools
    work, None where there is no such place.
    """

    attempt_id: str
    tier: Tier
    messages: tuple[Message, ...]
    skill_prompt: str
    original_task: str
    verifier: VerifierSpec | None
    warm_state: WarmState | None
    time_left_s: float | None
    cost_left_usd: float | None
    verdict_usd: float = 0.0
    folder: Path | None = None
    under_way: UnderWay | None = None
    tool_choice: ToolChoice = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: the fields of its record that only its end can fill."""

    verdict: VerdictKind
    cause: Cause | None = None
    score: float | None = None
    feedback: str = ""
    error: ErrorInfo | None = None

    @classmethod
    def of(cls, verdict: Verdict) -> Outcome:
        """Return the outcome that a verdict makes."""
        return cls(verdict.kind, verdict.cause, verdict.score, verdict.feedback)

    @classmethod
    def failed(cls, error: ErrorInfo) -> Outcome:
        """Return the outcome of an attempt that brought no usable answer."""
        return cls("error", error.kind, error=error)

    @classmethod
    def lost_to(cls, model: str) -> Outcome:
        """Return the outcome of an attempt that was stopped because another one's answer was accepted."""
        return cls.failed(ErrorInfo(kind="cancelled", message=f"the answer of {model} was accepted first"))


@dataclass(frozen=True, slots=True)
class Pause:
    """An attempt that waits for the results of `calls` (`{id, name, arguments}`); `attempt`: as it stands."""

    calls: tuple[dict[str, Any], ...]
    attempt: Attempt


CANCELLED = Outcome.failed(ErrorInfo(kind="cancelled", message="cancelled by the caller"))
