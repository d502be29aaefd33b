"""What the core needs from outside: a few protocols, implemented by adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import Model
from hyperguild.domain.events import Event
from hyperguild.domain.limits import Amount, Limits, Refusal, Standing
from hyperguild.domain.messages import ModelRequest, StreamPart
from hyperguild.domain.records import (
    Attempt,
    RunResult,
    RunStart,
    SessionSummary,
    Step,
    StoredRun,
    WarmState,
)
from hyperguild.domain.review import (
    Activity,
    AttemptRow,
    Hit,
    Label,
    LabelValue,
    Mark,
    Page,
    Pruned,
    RecordedRun,
    ReviewFilter,
    RunFact,
    RunRow,
)
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.domain.usage import Usage


class ModelClient(Protocol):
    """Speaks one endpoint's protocol."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """Ask for one completion; yield `Sent` first (after `Asked`, where the host loads models
        itself), its parts as they come, `Finish` at the end.

        Raises `ModelError` of the fitting kind, with `model` and `endpoint` set. A stream that ends without
        a finish reason raises `ProtocolError` (retryable). No retries and, besides connecting, no time
        limits: those are the caller's. Closing the generator, or cancelling, drops the connection or kills
        the process at once.
        """
        ...

    async def aclose(self) -> None:
        """Give up connections. Safe to call twice."""
        ...


class Meter(Protocol):
    """Watches over what the model calls of a run may spend."""

    def spending(self, request: ModelRequest, used: Callable[[], Usage]) -> AbstractAsyncContextManager[None]:
        """Reserve what the request may take at most, while the block sends it; then settle what it `used`.

        Entering raises `BudgetRefusedError` where a limit does not allow it, and `StoreError`. What was used
        is settled however the block ends.
        """
        ...


class WarmProbe(Protocol):
    """Knows whether a model is loaded."""

    async def state(self, model: Model) -> WarmState:
        """Return the state; `unknown` where it cannot be had within `probe_timeout_ms`. Never raises."""
        ...

    async def wait_ready(self, model: Model) -> None:
        """Return once the model is ready; waits without a limit of its own, until cancelled."""
        ...


class WindowSource(Protocol):
    """Knows the windows of models from their servers."""

    async def window(self, model: Model) -> int | None:
        """Return how many tokens one request may have, as the model's server says; None where it does not.

        Asks at most once for each load of the model, for at most `probe_timeout_ms`. Loads nothing and never
        raises, but for cancellation.
        """
        ...

    def known(self, model: Model) -> int | None:
        """Return what the server last said, without asking it."""
        ...

    def forget(self, model: Model) -> None:
        """Take note that the model is being loaded: its window may be another one from now on."""
        ...


class WriteBarrier(Protocol):
    """Where a tool that may have been started early waits before it changes anything."""

    async def passed(self) -> None:
        """Return once the change may be made. Raises `ToolError` where it may never be."""
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool gets beside its arguments.

    A tool that writes awaits `barrier.passed()` before its first change; `offer` takes a result that is
    likely but not yet certain.
    """

    barrier: WriteBarrier
    offer: Callable[[str], None]


class Tool(Protocol):
    """Something that a model may call."""

    @property
    def spec(self) -> ToolSpec:
        """How it is offered."""
        ...

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Do it and return what the model is told; the arguments fit the schema.

        Raises `ToolError` with what the model should know of a failure. Cancelling stops it at once and
        leaves no half-written file.
        """
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A call that somebody must allow, and why it is asked about. `preview` is a diff of what it changes."""

    call: ToolCall
    spec: ToolSpec
    reason: str
    preview: str = ""


class Approver(Protocol):
    """Somebody who can be asked whether a tool may run; several runs may ask at once."""

    async def ask(self, question: Question) -> Literal["yes", "no", "always"]:
        """Return what they say; `always` allows the like for the rest of the run."""
        ...


class BreakerStore(Protocol):
    """Where breakers are kept between processes. Everything that returned is durable. Raises `StoreError`."""

    async def breakers(self) -> list[BreakerRecord]:
        """Return all that are kept: those that are open, and those with failures."""
        ...

    async def keep_breakers(self, records: Sequence[BreakerRecord], gone: Sequence[str]) -> None:
        """Keep these in place of older ones with their keys; forget those whose keys are `gone`."""
        ...


class Ledger(Protocol):
    """What all runs of a session log spend of limits that they share, whatever process they are in.

    Attempts on record are what was spent; on top of them count reservations, and calls that are settled but
    whose attempt is not on record yet. A day is one of UTC, and has what its runs spend that began on it, and
    what others spend on it. Raises `StoreError`.
    """

    async def reserve(self, run_id: str, key: str, ask: Amount, limits: Limits) -> Refusal | None:
        """Set the amount aside for a run on record, or return why it cannot be.

        No two reservations come between each other: what all have set aside and spent stays within limits.
        """
        ...

    async def settle(self, key: str, run_id: str, used: Amount, *, on_record: bool = False) -> None:
        """Put what a call used in the place of what was reserved; kept until its attempt is on record.

        `on_record`: that it is already, so that the totals of the run have it.
        """
        ...

    async def standings(self, session_id: str | None, limits: Limits) -> tuple[Standing, ...]:
        """Return how each limit stands now; those of a session only where one is named."""
        ...


class SessionStore(BreakerStore, Protocol):
    """The session log. Everything that returned is durable. Raises `StoreError`."""

    @property
    def ledger(self) -> Ledger:
        """What its runs spend of limits that they share."""
        ...

    async def start_run(self, run: RunStart) -> None:
        """Record a run as `running`, and its session where that is new."""
        ...

    async def resume_run(self, run_id: str, lease_expires_at: datetime) -> None:
        """Record that a run which ended without an answer goes on, in this process.

        Raises `UsageError` where it is under way in another process, or was answered.
        """
        ...

    async def record_step(self, run_id: str, step: Step) -> None:
        """Record a finished step of an attempt that goes on."""
        ...

    async def record_attempt(self, run_id: str, attempt: Attempt, steps: Sequence[Step]) -> None:
        """Record a finished attempt with those of its steps that are not recorded yet, in one transaction."""
        ...

    async def finish_run(self, result: RunResult, finished_at: datetime) -> None:
        """Record how the run ended."""
        ...

    async def renew_lease(self, run_id: str, expires_at: datetime) -> None:
        """Say that the run's process is alive."""
        ...

    async def sessions(self, *, limit: int) -> list[SessionSummary]:
        """Return the newest sessions, newest first."""
        ...

    async def session_runs(self, session_id: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first."""
        ...

    async def run(self, run_id: str) -> StoredRun | None:
        """Return one run with attempts and steps, or None."""
        ...

    async def resolve_session(self, reference: str) -> str:
        """Return the session id for an id, a unique suffix of a session's or run's id, or `last`.

        Raises `UsageError` where none or several fit.
        """
        ...

    async def resolve_run(self, reference: str) -> str:
        """Return the run id for an id, a unique suffix, or `last`. Raises `UsageError`."""
        ...

    async def aclose(self) -> None:
        """Close the database. Safe to call twice."""
        ...


class ReviewStore(Protocol):
    """The session log as a place to look, judge and learn from. Raises `StoreError`.

    Listings are newest first, in pages: `after` is that of the page before. Each page answers at once,
    however large the log is.
    """

    async def sessions(
        self, wanted: ReviewFilter, *, limit: int, after: str | None = None
    ) -> Page[SessionSummary]:
        """Return sessions that have a run that fits, by their newest run."""
        ...

    async def runs(self, wanted: ReviewFilter, *, limit: int, after: str | None = None) -> Page[RunRow]:
        """Return runs that fit, delegated ones too."""
        ...

    async def attempts(
        self, wanted: ReviewFilter, *, limit: int, after: str | None = None
    ) -> Page[AttemptRow]:
        """Return attempts that fit."""
        ...

    async def search(self, wanted: ReviewFilter, *, limit: int, after: str | None = None) -> Page[Hit]:
        """Return where `wanted.text` (not blank) is found. Raises `UsageError` for a bad query.

        All words must be there, in any order; "quoted words" in this order; a word that ends in * is a
        beginning.
        """
        ...

    async def run(self, run_id: str) -> StoredRun | None:
        """Return one run with attempts and steps, or None."""
        ...

    async def run_of_attempt(self, attempt_id: str) -> StoredRun | None:
        """Return the run that an attempt is of, with attempts and steps, or None."""
        ...

    async def session_runs(self, session_id: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first."""
        ...

    async def resolve_session(self, reference: str) -> str:
        """Return the session that is meant, as `SessionStore` does. Raises `UsageError`."""
        ...

    async def resolve_run(self, reference: str) -> str:
        """Return the run that is meant, as `SessionStore` does. Raises `UsageError`."""
        ...

    async def resolve_attempt(self, reference: str) -> str:
        """Return the attempt id for an id, a unique suffix, or `RUN:N`, the Nth (from 1) attempt of a run.

        A reference to a run alone (`last` too) means its best attempt, else its last. Raises `UsageError`.
        """
        ...

    def run_facts(self, wanted: ReviewFilter) -> AsyncGenerator[Sequence[RunFact], None]:
        """Yield the facts of all runs that fit, in batches, oldest first; delegated runs too."""
        ...

    def recorded_runs(self, wanted: ReviewFilter) -> AsyncGenerator[Sequence[RecordedRun], None]:
        """Yield all runs that fit with task and answers, in batches, oldest first."""
        ...

    async def labels(self, attempt_ids: Sequence[str]) -> dict[str, tuple[Label, ...]]:
        """Return all that was ever said of these attempts, oldest first."""
        ...

    async def label(self, attempt_id: str, value: LabelValue | None, *, reviewer: str, note: str) -> Label:
        """Record what a reviewer says of an attempt; it takes the place of what they said before."""
        ...

    async def to_review(self, wanted: ReviewFilter, *, reviewer: str, limit: int) -> list[AttemptRow]:
        """Return attempts with answers that the reviewer has not labelled, in no order: candidates.

        Those accepted with the lowest scores, those refused with the highest, those whose label contradicts
        their verdict, and the newest others: up to `limit` of each.
        """
        ...

    async def activity(self, since: Mark | None) -> Activity:
        """Return what happened since the mark; None begins now, with what is under way as `started`."""
        ...

    async def prune(
        self, older_than: datetime, *, keep_labelled: bool, skills: Sequence[str] = (), dry_run: bool = False
    ) -> Pruned:
        """Delete runs that began before, and what belongs to them; none that are under way.

        With `keep_labelled` runs with a labelled attempt stay. What is deleted is overwritten.
        """
        ...

    async def aclose(self) -> None:
        """Close the database. Safe to call twice."""
        ...


class EventSink(Protocol):
    """Gets every event of a run, in order. Must neither block nor raise."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


class Clock(Protocol):
    """Time, so that tests own it."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class IdSource(Protocol):
    """Draws identifiers and nonces."""

    def new_id(self) -> str:
        """Return a UUIDv7 in its text form; each sorts after the ones drawn before."""
        ...

    def nonce(self) -> str:
        """Return 16 hexadecimal digits that nobody can guess."""
        ...
