"""Plans how a run goes on that ended without having come to its end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hyperguild.agent.conversation import NOTHING_SAID
from hyperguild.agent.resumption import Resumption
from hyperguild.agent.transcript import repaired
from hyperguild.domain.chain import Chain, Tier
from hyperguild.domain.message_records import as_record, from_record
from hyperguild.domain.messages import Message
from hyperguild.domain.records import RESUMABLE, Attempt, SpeculationUse, Step, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import LITERAL, placeholders_in
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage
from hyperguild.errors import UsageError
from hyperguild.orchestration.decide import next_tier
from hyperguild.orchestration.restoring import Restorer
from hyperguild.ports import Clock, IdSource

RERUN = "`hyperguild rerun` runs its task again"

WHOLE = frozenset({"stop", "other"})
"""Reasons to finish after which an answer without calls is the answer of its attempt."""


FILES_AS_THEY_ARE = (
    "You were interrupted, and your work directory was set up anew: it holds the files as they are now, "
    "without anything that you changed before. Look at them again, and make the changes that are needed."
)
"""What a model is told whose worktree cannot be brought back."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The attempt that goes on.

    `attempt_id` is its own; or a new one, where what was done of it is on record as cancelled. `done` are the
    calls that have run, as they ran, for whoever sums up what the attempt changed; `handed_in` are messages
    at the end of its transcript that are not on record yet, such as the results that its caller brings.
    `earlier_ms`, `began_at` and `asides` (model and usage) are of what goes on under its id.
    """

    resumption: Resumption
    attempt_id: str
    done: tuple[tuple[ToolCall, ToolResult], ...] = ()
    handed_in: tuple[Message, ...] = ()
    earlier_ms: int = 0
    began_at: datetime | None = None
    asides: tuple[tuple[str, Usage], ...] = ()

    def with_texts(self, texts: Mapping[str, str]) -> UnderWay:
        """Return it with these texts of results, by the ids of their calls."""

        def told(message: Message) -> Message:
            result = message.result
            if result is None or result.call_id not in texts:
                return message
            return Message.of_result(replace(result, text=texts[result.call_id]))

        messages = tuple(told(message) for message in self.resumption.messages)
        brought = tuple(told(message) for message in self.handed_in)
        return replace(self, resumption=replace(self.resumption, messages=messages), handed_in=brought)

    def without_its_files(self) -> UnderWay:
        """Return it knowing that its work directory holds nothing of what it has changed before."""
        if not self.done:
            return self
        former = self.resumption
        told: tuple[Message, ...] = (Message("user", FILES_AS_THEY_ARE),)
        if former.messages[-1].role == "user":
            told = (Message("assistant", NOTHING_SAID), *told)
        resumption = replace(former, messages=(*former.messages, *told), answered=False)
        return replace(self, resumption=resumption, done=(), handed_in=(*self.handed_in, *told))


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a run goes on: its attempts on record, its time so far, and the attempt that was under way."""

    run_id: str
    attempts: tuple[Attempt, ...] = ()
    earlier_ms: int = 0
    under_way: UnderWay | None = None
    speculation: SpeculationUse | None = None

    @property
    def used_tokens(self) -> int:
        """How many tokens the run has used before."""
        used = sum(attempt.whole_usage.tokens for attempt in self.attempts)
        if self.under_way is not None:
            used += self.under_way.resumption.usage.tokens
            used += sum(usage.tokens for _, usage in self.under_way.asides)
        return used

    @property
    def used_usd(self) -> float:
        """What the attempts on record have cost, as far as that is known."""
        return sum(cost or 0.0 for attempt in self.attempts for cost in attempt.costs_usd)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What every prompt of a run is made of, but the task."""

    system: str
    history: tuple[Message, ...]
    task_text: str
    """The task as it was typed, without what was attached to it."""


def handed_in(under_way: UnderWay, ids: IdSource, clock: Clock) -> Step:
    """Return the step that puts on record what the caller brings, before anything is done with it."""
    return Step(
        step_id=ids.new_id(),
        attempt_id=under_way.attempt_id,
        position=under_way.resumption.used_steps,
        kind="injected",
        anew=False,
        messages=tuple(as_record(message) for message in under_way.handed_in),
        created_at=clock.now(),
    )


def prompt_record(request: RunRequest) -> dict[str, Any]:
    """Return what is stored of a request so that its prompts can be made again, as a JSON object."""
    said = {"system": request.system_prompt, "history": [as_record(one) for one in request.history]}
    if request.task.text != request.task.rendered():
        said["text"] = request.task.text
    literal = placeholders_in([*said.values(), request.task.rendered()])
    return {**said, LITERAL: list(literal)} if literal else said


def can_go_on(stored: StoredRun) -> bool:
    """Return whether a run may be continued by itself, as far as the log tells at a glance."""
    return (
        stored.result.status in RESUMABLE
        and stored.parent_run_id is None
        and stored.task is not None
        and {"prompt", "chain"} <= stored.options.keys()
        and not stored.images
    )


def stored_prompt(stored: StoredRun, restorer: Restorer) -> tuple[Prompt, str]:
    """Return what the prompts of a run are made of, and its task, secrets in place.

    Raises `UsageError` where the log does not hold them.
    """
    record = stored.options.get("prompt")
    if stored.task is None or not isinstance(record, Mapping):
        raise UsageError(
            "what was said in that run was not stored",
            hint="it ran with --private, or log.content is not full: give its task to `hyperguild run` again",
        )
    if stored.images:
        images = "1 image" if stored.images == 1 else f"{stored.images} images"
        raise UsageError(
            f"that run had {images}, which the log does not keep",
            hint="give its task to `hyperguild run` again",
        )
    literal = record.get(LITERAL, ())
    task: str = restorer.value(stored.task, literal)
    said = restorer.value({key: value for key, value in record.items() if key != LITERAL}, literal)
    try:
        history = tuple(from_record(one) for one in said["history"])
        return Prompt(str(said["system"]), history, str(said.get("text", task))), task
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(stored) from error


def plan(
    stored: StoredRun,
    request: RunRequest,
    results: Sequence[ToolResult],
    restorer: Restorer,
    new_id: Callable[[], str],
) -> Continuation:
    """Return where the run goes on. `results` are those of the calls that its caller executes.

    Raises `UsageError` where the chain is not the one that it was, where results are missing, or belong to no
    call, and where the log does not hold what was said.
    """
    chain, attempts = request.chain, stored.result.attempts
    _require_same_chain(chain, attempts)
    tier = next_tier(chain, attempts)
    steps = _open_steps(stored, tier)
    if tier is not None and any(step.model not in {None, tier.model.name} for step in _of_model(steps)):
        raise _changed(chain)
    under_way = _under_way(stored, steps, results, restorer, 2 + len(request.history), new_id)
    if under_way is not None:
        messages = repaired(under_way.resumption.messages, new_id)
        under_way = replace(under_way, resumption=replace(under_way.resumption, messages=messages))
    return Continuation(
        stored.result.run_id,
        tuple(_quotable(attempt, restorer) for attempt in attempts),
        stored.result.duration_ms,
        under_way if tier is not None else None,
        stored.result.speculation,
    )


def _require_same_chain(chain: Chain, attempts: Sequence[Attempt]) -> None:
    names = [tier.model.name for tier in chain.tiers]
    for attempt in attempts:
        if names[attempt.position : attempt.position + 1] != [attempt.model]:
            raise _changed(chain)


def _changed(chain: Chain) -> UsageError:
    return UsageError(
        f"the chain {chain.name} has other tiers than when that run began", hint=f"put them back; or {RERUN}"
    )


def _unreadable(stored: StoredRun) -> UsageError:
    return UsageError(f"what was stored of the run {stored.result.run_id} cannot be read", hint=RERUN)


def _open_steps(stored: StoredRun, tier: Tier | None) -> list[Step]:
    """Return the steps of the attempt that was under way, those before a Ctrl-C included.

    Of several that were under way at once, those of the one at the tier that is next.
    """
    attempts = stored.result.attempts
    ended = {attempt.attempt_id for attempt in attempts}
    cancelled = []
    for attempt in reversed(attempts):
        if attempt.cause != "cancelled":
            break
        if tier is not None and attempt.position == tier.position:
            cancelled.append(attempt.attempt_id)
    wanted = {*cancelled, *(step.attempt_id for step in stored.steps[-1:] if step.attempt_id not in ended)}
    return [step for step in stored.steps if step.attempt_id in wanted]


def _of_model(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that the model of the tier made."""
    return [step for step in steps if step.kind in {"step", "summary"}]


def _under_way(
    stored: StoredRun,
    steps: Sequence[Step],
    results: Sequence[ToolResult],
    restorer: Restorer,
    prompt_length: int,
    new_id: Callable[[], str],
) -> UnderWay | None:
    said = [step for step in steps if step.kind != "aside"]
    try:
        told = _messages(said, restorer)
    except (ValueError, AttributeError) as error:
        raise _unreadable(stored) from error
    if any(step.finish_reason is not None and not step.messages for step in said):
        raise UsageError(
            "what was said in that run was not stored", hint=f"log.content was not full; {RERUN}"
        )
    brought = _brought(said, told.transcript, results)
    messages = [*told.transcript, *brought]
    answered = bool(said) and said[-1].kind == "step" and said[-1].finish_reason in WHOLE
    ended = {attempt.attempt_id for attempt in stored.result.attempts}
    own = [step for step in steps if step.attempt_id not in ended]
    if len(messages) < prompt_length or (not own and not answered and not told.done):
        return None  # nothing was done that could be gone on with
    resumption = Resumption(
        messages=tuple(messages),
        prompt_length=prompt_length,
        used_steps=max((step.position + 1 for step in steps if step.kind != "injected"), default=0),
        usage=sum((step.usage for step in _of_model(own)), Usage()),
        answered=answered and _is_prose(messages[-1]) and bool(messages[-1].text.strip()),
        paused=bool(results),
    )
    return UnderWay(
        resumption,
        own[-1].attempt_id if own else new_id(),
        told.done,
        brought,
        sum(step.duration_ms for step in own),
        own[0].created_at if own else None,
        tuple((step.model, step.usage) for step in own if step.kind == "aside" and step.model is not None),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What the steps of an attempt add up to, and the calls that came to their end."""

    transcript: tuple[Message, ...]
    done: tuple[tuple[ToolCall, ToolResult], ...]


def _messages(steps: Sequence[Step], restorer: Restorer) -> _Told:
    transcript: list[Message] = []
    calls: dict[str, ToolCall] = {}
    done: dict[str, tuple[ToolCall, ToolResult]] = {}
    sent_from = max((place for place, step in enumerate(steps) if step.anew), default=0)
    for place, step in enumerate(steps):
        # What was replaced by a summary is not sent again: its placeholders may stay.
        records = step.messages if place < sent_from else map(restorer.message, step.messages)
        fresh = [from_record(record) for record in records]
        if step.kind == "step" and step.finish_reason is None and fresh and _is_prose(fresh[-1]):
            del fresh[-1]  # it was stopped as it spoke, and said it anew, or will
        transcript = [*([] if step.anew else transcript), *fresh]
        for message in fresh:
            calls |= {call.id: call for call in message.tool_calls}
            result = message.result
            if result is not None and result.call_id in calls:
                call = calls[result.call_id]
                ran = call if result.ran_with is None else replace(call, arguments=result.ran_with)
                done.setdefault(call.id, (ran, result))
    return _Told(tuple(transcript), tuple(done.values()))


def _brought(
    steps: Sequence[Step], transcript: Iterable[Message], results: Sequence[ToolResult]
) -> tuple[Message, ...]:
    """Return the results of the calls that wait for one, in their order. Raises `UsageError`."""
    answered = {message.result.call_id for message in transcript if message.result is not None}
    last = next((step for step in reversed(steps) if step.kind == "step"), None)
    waiting = [call for call in (last.pending_tool_calls if last else ()) if call["id"] not in answered]
    brought = {result.call_id: result for result in results}
    unknown = brought.keys() - {call["id"] for call in waiting}
    if unknown:
        named = ", ".join(sorted(unknown))
        what = f"that run waits for {pending_named(waiting)}" if waiting else "that run waits for no results"
        raise UsageError(f"there is no call {named} whose result is awaited", hint=what)
    missing = [call for call in waiting if call["id"] not in brought]
    if missing:
        raise UsageError(
            f"that run waits for the results of {pending_named(missing)}",
            hint="hand them in with --tool-results FILE",
        )
    return tuple(Message.of_result(replace(brought[call["id"]], name=str(call["name"]))) for call in waiting)


def pending_named(calls: Iterable[Mapping[str, Any]]) -> str:
    """Return calls (`{id, name, arguments}`) as a person reads them: `weather (call_1), time (call_2)`."""
    return ", ".join(f"{call['name']} ({call['id']})" for call in calls)


def _is_prose(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


def _quotable(attempt: Attempt, restorer: Restorer) -> Attempt:
    """Return an attempt on record as later tiers are told of it."""
    if attempt.verdict not in {"accept", "escalate"}:
        return attempt  # nobody is told of it
    feedback, answer = restorer.quotation(attempt.feedback), restorer.quotation(attempt.answer)
    return attempt.model_copy(update={"feedback": feedback, "answer": answer})
