"""What is kept of a run: attempts, steps and the result object (contract, section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hyperguild.domain.chain import TierLabel
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import ErrorKind, HyperguildError, ModelError, StoreError

WarmState = Literal["ready", "starting", "cold", "unknown"]
VerdictKind = Literal["accept", "escalate", "error", "skip"]
RunStatus = Literal[
    "accepted",
    "exhausted",
    "best_effort",
    "budget_exceeded",
    "cancelled",
    "running",
    "interrupted",
    "awaiting_tools",
]
RESUMABLE: frozenset[RunStatus] = frozenset({"interrupted", "cancelled", "awaiting_tools"})
"""Runs that can be continued: those that ended without having come to their own end."""

Cause = (
    Literal[
        "rejected",
        "check_failed",
        "verifier_error",
        "truncated",
        "repetition",
        "greeting",
        "patch_spiral",
        "repeated_call",
        "max_steps",
        "context_overflow",
        "cold",
        "breaker_open",
        "budget",
    ]
    | ErrorKind
)


class Record(BaseModel):
    """The base of everything that is stored or sent: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorInfo(Record):
    """A model error as it is shown: kind, one line for a person, HTTP status where there was one."""

    kind: ErrorKind
    message: str
    status: int | None = None
    retryable: bool = False

    @classmethod
    def of(cls, error: ModelError) -> ErrorInfo:
        """Describe an error; a hint follows its message."""
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        return cls(kind=error.kind, message=message, status=error.status, retryable=error.retryable)


class CheckResult(Record):
    """What one deterministic check found; `message` is empty where it passed."""

    kind: str
    passed: bool
    message: str = ""


class JudgeUse(Record):
    """Who judged, and what that used. `model` is None where no judge was asked.

    `accepts` is the judge's own word, whatever its score (of several votes what most of them say; None where
    there was no verdict, or it was not kept yet), and `accept_at` the score that it took to be accepted.
    """

    model: str | None = None
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    accepts: bool | None = None
    accept_at: float | None = None


class ModelUse(Record):
    """What was used within an attempt beside its steps. `purpose` says who asked: a hook, a delegated run, or
    the loop itself, ahead of time and in vain.
    """

    model: str
    purpose: Literal["hook", "delegate", "speculation"]
    usage: Usage = Usage()
    cost_usd: float | None = 0.0


class Verdict(Record):
    """What checks and judge come to.

    `kind` is `accept` or `escalate`; `cause` is null when accepted, else `rejected`, `check_failed` or
    `verifier_error`. `score` is the judge's, null where no judge gave one. `warning` is for a person.
    """

    kind: Literal["accept", "escalate"]
    cause: Cause | None = None
    score: float | None = None
    feedback: str = ""
    checks: tuple[CheckResult, ...] = ()
    judge: JudgeUse = JudgeUse()
    warning: str | None = None


class Attempt(Record):
    """One try of one tier. Times are whole milliseconds; `duration_ms` includes loading and verifying.

    `usage` and `cost_usd` are the model's own: the judge's are in `verifier`, those of models that hooks and
    delegated runs asked in `asides`.
    """

    attempt_id: str
    position: int
    model: str
    tier: TierLabel
    endpoint: str
    warm_state: WarmState | None = None
    warm_start: bool = False
    duration_ms: int = 0
    load_ms: int | None = None
    first_token_ms: int | None = None
    verify_ms: int | None = None
    verdict: VerdictKind
    cause: Cause | None = None
    score: float | None = None
    feedback: str = ""
    answer: str = ""
    finish_reason: str | None = None
    retries: int = 0
    checks: tuple[CheckResult, ...] = ()
    error: ErrorInfo | None = None
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    verifier: JudgeUse = JudgeUse()
    asides: tuple[ModelUse, ...] = ()
    started_at: datetime | None = None

    @property
    def whole_usage(self) -> Usage:
        """What it used in all: the model itself, the judge, and whom hooks and delegated runs asked."""
        total = self.usage + self.verifier.usage
        for aside in self.asides:
            total = total + aside.usage
        return total

    @property
    def costs_usd(self) -> tuple[float | None, ...]:
        """What each of those cost; null where that is not known."""
        return (self.cost_usd, self.verifier.cost_usd, *(aside.cost_usd for aside in self.asides))


StepKind = Literal["step", "summary", "injected", "aside"]
"""`step`: a model call and its tools. `summary`: the one that replaced older messages. `injected`: messages
that a hook added after the last call. `aside`: what a hook asked another model; no part of the transcript."""


class Step(Record):
    """One model call inside an attempt, and the tools that it called.

    `messages` are objects as `messages.as_record` makes them: what was added since the step before, with the
    whole prompt where that is new (`anew`: the first step, and a summary that replaced older messages); then
    the answer and the results of its calls. `model` is the one that answered, and `finish_reason` how; null
    where it did not come to that. `context_limit` is in tokens. `pending_tool_calls` are calls that the
    caller of the run executes.
    """

    step_id: str
    attempt_id: str
    position: int
    kind: StepKind = "step"
    anew: bool = True
    model: str | None = None
    finish_reason: str | None = None
    messages: tuple[dict[str, Any], ...]
    usage: Usage = Usage()
    context_limit: int | None = None
    duration_ms: int = 0
    pending_tool_calls: tuple[dict[str, Any], ...] = ()
    created_at: datetime


class SpeculationUse(Record):
    """What came of work that was begun before it was needed: how often it was, and how often it was not.

    Of what was not needed: tokens, in and out, and USD (null: not known). `saved_ms` is how much sooner work
    was begun that was needed, as far as that could be measured.
    """

    hits: int = 0
    misses: int = 0
    wasted_tokens: int = 0
    wasted_usd: float | None = 0.0
    saved_ms: int = 0

    def __add__(self, other: SpeculationUse) -> SpeculationUse:
        return SpeculationUse(
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            wasted_tokens=self.wasted_tokens + other.wasted_tokens,
            wasted_usd=total_cost_usd([self.wasted_usd, other.wasted_usd]),
            saved_ms=self.saved_ms + other.saved_ms,
        )


class RunResult(Record):
    """The result object. `output` is the accepted (or best-effort) answer, else null.

    `pending_tool_calls` (`{id, name, arguments}`) are those whose results an `awaiting_tools` run waits for.
    `speculation` is null where nothing was begun early.
    """

    schema_version: Literal[1] = 1
    run_id: str
    session_id: str
    skill: str
    chain: str
    status: RunStatus
    output: str | None = None
    model: str | None = None
    tier: TierLabel | None = None
    duration_ms: int = 0
    best_attempt_id: str | None = None
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    attempts: tuple[Attempt, ...] = ()
    pending_tool_calls: tuple[dict[str, Any], ...] = ()
    speculation: SpeculationUse | None = None


class RunStart(Record):
    """What is known of a run before its first attempt.

    `task` is the task as it was given, files included; of its images only the number is kept. `options` are
    what the caller chose, so that the run can be continued as it began. `parent_run_id` is the run that
    delegated this one.
    """

    run_id: str
    session_id: str
    skill: str
    chain: str
    task: str
    images: int = 0
    options: dict[str, Any] = {}
    parent_run_id: str | None = None
    created_at: datetime
    lease_expires_at: datetime


class StoredRun(Record):
    """A run as the session log holds it: the result object, the task, how many images it had, its times."""

    result: RunResult
    task: str | None
    images: int = 0
    options: dict[str, Any] = {}
    parent_run_id: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
    steps: tuple[Step, ...] = ()


class SessionSummary(Record):
    """A session as a listing shows it."""

    session_id: str
    created_at: datetime
    title: str | None = None
    runs: int = 0
    skills: tuple[str, ...] = ()
    statuses: tuple[RunStatus, ...] = Field(default=(), description="of its runs, oldest first")
    cost_usd: float | None = 0.0


class UnrecordedRunError(StoreError):
    """The session log failed while a run was under way; `result` is what the run came to.

    An answer that was accepted is its `output`. Else the run was ended there: `interrupted`. What the log
    holds of it is what was written before.
    """

    def __init__(self, error: StoreError, result: RunResult) -> None:
        told = "the run was ended" if result.output is None else "the answer is not on record"
        super().__init__(f"{told}: {error.message}", hint=error.hint)
        self.result = result


class RunError(HyperguildError):
    """A run ended without an accepted answer; `result` holds every attempt and names the best one."""

    def __init__(self, message: str, *, result: RunResult, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class ChainExhaustedError(RunError):
    """Every tier was tried or skipped and none was accepted."""

    exit_code = 1


class AwaitingToolsError(RunError):
    """The run waits for the results of tools that its caller executes: no failure, for those who can wait."""

    exit_code = 6


class BudgetExceededError(RunError):
    """The budget or the deadline was spent before an answer was accepted."""

    exit_code = 4
