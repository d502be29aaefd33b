"""What `sessions show` prints: the head of a run, its chain as a timeline, its texts folded or whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.cells import cell_len

from hyperguild.cli.log_reading import Selection
from hyperguild.cli.page import Page, Part
from hyperguild.cli.step_page import fill_steps
from hyperguild.cli.timeline import GLYPHS, STYLES, bar
from hyperguild.cli.tool_files import going_on_arguments
from hyperguild.cli.view import COLOURS, MARKS
from hyperguild.domain.message_lines import call_line, message_title
from hyperguild.domain.outcomes import ENDINGS, outcome, reason
from hyperguild.domain.phases import NAMES, longest_ms, phases, phases_used
from hyperguild.domain.records import Attempt, RunResult, RunStatus, Step, StoredRun
from hyperguild.domain.review import Label, LabelState, current_labels
from hyperguild.domain.secrets import placeholders
from hyperguild.domain.telling import ago, dollars, local_time, seconds
from hyperguild.domain.text import cleaned, one_line
from hyperguild.domain.usage import Usage
from hyperguild.errors import UsageError
from hyperguild.orchestration.resume import can_go_on, pending_named

STATUS_STYLES: dict[RunStatus, str] = {
    "accepted": "green",
    "best_effort": "yellow",
    "running": "cyan",
    "awaiting_tools": "cyan",
    "exhausted": "red",
    "budget_exceeded": "red",
    "cancelled": "red",
    "interrupted": "red",
}

LABEL_STYLES: dict[LabelState, str] = {"good": "green", "bad": "red", "disputed": "yellow"}

Labels = Mapping[str, Sequence[Label]]
"""All that was ever said of attempts, by attempt id, oldest first."""

NOTE_CHARS = 2000
MAX_BAR_CELLS = 40
_TIME_CELLS = 10
_LABEL_CELLS = 36


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown: texts whole, one attempt alone (counted from 1), every step of the attempts."""

    whole: bool = False
    attempt: int | None = None
    steps: bool = False


def fill_page(page: Page, selection: Selection, detail: Detail, now: datetime) -> None:
    """Put a selection on the page. Raises `UsageError` where the attempt asked for is none."""
    if detail.attempt is not None:
        _one_attempt(page, selection, detail.attempt, now)
        return
    if len(selection.heads) > 1:
        _session_head(page, selection, now)
    for stored in selection.heads:
        page.gap()
        _head(page, stored, selection, now, whole=detail.whole)
        page.gap()
        _chain(page, stored, selection.labels, detail)
        _delegated(page, selection.delegated_by(stored), whole=detail.whole)
        if detail.steps:
            fill_steps(page, stored, whole=detail.whole)
    page.gap()
    _hint(page, selection.heads, detail)


def nth_attempt(stored: StoredRun, number: int) -> Attempt:
    """Return the attempt of that number, counted from 1. Raises `UsageError`."""
    attempts = stored.result.attempts
    if not 1 <= number <= len(attempts):
        count = f"{len(attempts)} attempt{'' if len(attempts) == 1 else 's'}"
        raise UsageError(f"the run {stored.result.run_id[-8:]} has {count}, no attempt {number}")
    return attempts[number - 1]


def steps_of(stored: StoredRun, attempt: Attempt) -> list[Step]:
    """Return the model calls of an attempt, in order."""
    return [step for step in stored.steps if step.attempt_id == attempt.attempt_id]


def _session_head(page: Page, selection: Selection, now: datetime) -> None:
    began = selection.runs[0].created_at
    page.add((f"session {_id(page, selection.session_id)}", "bold"), hang=2)
    page.add(
        (f"{len(selection.own)} runs, oldest first, since {local_time(began)} ({ago(began, now)})", "dim")
    )


def _head(page: Page, stored: StoredRun, selection: Selection, now: datetime, *, whole: bool) -> None:
    result = stored.result
    page.add(*_title(result), hang=2)
    if result.status in ENDINGS:
        page.add((ENDINGS[result.status], STATUS_STYLES[result.status]))
    page.fact("run", (_id(page, result.run_id), ""), (_place(selection, stored), "dim"))
    if len(selection.heads) == 1:
        page.fact("session", (_id(page, result.session_id), ""))
    page.fact("when", (f"{local_time(stored.created_at)}, {ago(stored.created_at, now)}", ""))
    page.fact("spent", (_spent(result), ""))
    if result.pending_tool_calls:
        page.fact("waits for", (pending_named(result.pending_tool_calls), ""))
    if stored.task is None:
        page.fact("task", ("not stored (--private, or log.content in chains.yaml)", "dim"))
    else:
        page.quote("task", stored.task, whole=whole)


def _id(page: Page, whole: str) -> str:
    """Return the id, or where there is little room its end, which finds it as well."""
    return f"…{whole[-8:]}" if page.narrow else whole


def _title(result: RunResult) -> list[Part]:
    style = STATUS_STYLES[result.status]
    parts = [
        (result.skill, "bold"),
        (f" · chain {result.chain} · ", "dim"),
        (result.status.replace("_", " "), f"bold {style}"),
    ]
    return [*parts, (f": {result.model} ({result.tier})", style)] if result.model else parts


def _place(selection: Selection, stored: StoredRun) -> str:
    if stored.parent_run_id is not None:
        return f"  delegated by {stored.parent_run_id[-8:]}"
    if len(selection.own) == 1:
        return ""
    ids = [one.result.run_id for one in selection.own]
    return f"  {ids.index(stored.result.run_id) + 1} of {len(ids)} of its session"


def _has_prompt(stored: StoredRun, attempt: Attempt) -> bool:
    return any(step.messages for step in steps_of(stored, attempt))


def _spent(result: RunResult) -> str:
    if result.status == "interrupted" and result.duration_ms == 0:
        # Its process ended before it could say; only what finished attempts used may be known.
        used = [dollars(result.cost_usd)] if result.cost_usd else []
        return " · ".join(["unknown", *used, *_tokens(result.usage)])
    parts = [seconds(result.duration_ms), dollars(result.cost_usd), *_tokens(result.usage)]
    return " · ".join(parts)


def _tokens(usage: Usage) -> list[str]:
    if not usage.input_tokens and not usage.output_tokens:
        return []
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    return [f"{usage.input_tokens:,}{cached} → {usage.output_tokens:,} tokens"]


def _chain(page: Page, stored: StoredRun, labels: Labels, detail: Detail) -> None:
    result = stored.result
    if not result.attempts:
        page.add(("no attempt was finished", "dim"))
        return
    _legend(page, result.attempts)
    for number, attempt in enumerate(result.attempts, 1):
        page.gap()
        _row(page, number, attempt, result)
        _facts(page, attempt)
        fill_labels(page, labels.get(attempt.attempt_id, ()), indent=page.indent)
        if attempt.answer:
            page.quote("answer", attempt.answer, indent=page.indent, whole=detail.whole)
        elif attempt.verdict in {"accept", "escalate"}:
            page.fact("answer", ("not stored", "dim"), indent=page.indent)
    if result.status in {"running", "interrupted"}:
        page.gap()
        page.add((f"… {result.status}", STATUS_STYLES[result.status]))


def _delegated(page: Page, runs: Sequence[StoredRun], *, whole: bool) -> None:
    """Add the runs that a run delegated, moved in: what became of each, its task and its answer."""
    for stored in runs:
        result = stored.result
        page.gap()
        page.add(("delegated: ", "dim"), *_title(result), indent=page.indent, hang=2)
        parts = [f"run {result.run_id[-8:]}", _spent(result)]
        page.add((" · ".join(parts), "dim"), indent=2 * page.indent)
        if stored.task is not None:
            page.quote("task", stored.task, indent=2 * page.indent, whole=whole)
        if result.output is not None:
            page.quote("answer", result.output, indent=2 * page.indent, whole=whole)
        elif result.status in ENDINGS:
            page.add((ENDINGS[result.status], STATUS_STYLES[result.status]), indent=2 * page.indent)


def _legend(page: Page, attempts: Sequence[Attempt]) -> None:
    items = [[(GLYPHS[phase], STYLES[phase]), (f" {NAMES[phase]}", "dim")] for phase in phases_used(attempts)]
    page.flow(items, "  ")


def _row(page: Page, number: int, attempt: Attempt, result: RunResult) -> None:
    """Add the first rows of an attempt: mark, model, bar, length; then what became of it."""
    style = COLOURS[attempt.verdict]
    digits = len(str(len(result.attempts)))
    head: list[Part] = [
        (f"{number:>{digits}} ", "dim"),
        (f"{MARKS[attempt.verdict]} ", style),
        (attempt.model, "bold"),
        (f"  {_place_of(attempt)}", "dim"),
    ]
    labels = [_label_cells(one) + digits + 3 for one in result.attempts]
    column = min(max(labels), _LABEL_CELLS)
    drawn = _drawn(attempt, result.attempts, page.width - 3 - (page.indent if page.narrow else column))
    if drawn and (page.narrow or labels[number - 1] > column):
        page.add(*head, hang=page.indent)
        page.add(*drawn, indent=page.indent)
    elif drawn:
        page.add(*head, (" " * (column - labels[number - 1] + 2), ""), *drawn)
    else:
        page.add(*head, hang=page.indent)
    best = [("  best answer", "dim")] if _is_best(attempt, result) else []
    page.add((outcome(attempt), style), *best, indent=page.indent)


def _label_cells(attempt: Attempt) -> int:
    return cell_len(cleaned(attempt.model)) + len("  ") + len(_place_of(attempt))


def _place_of(attempt: Attempt) -> str:
    return ", ".join(part for part in (attempt.tier, attempt.warm_state) if part)


def _is_best(attempt: Attempt, result: RunResult) -> bool:
    return result.status != "accepted" and attempt.attempt_id == result.best_attempt_id


def _drawn(attempt: Attempt, attempts: Sequence[Attempt], room: int) -> list[Part]:
    cells = min(max(room - _TIME_CELLS, 5), MAX_BAR_CELLS)
    drawn: list[Part] = [
        (GLYPHS[phase] * count, STYLES[phase])
        for phase, count in bar(phases(attempt), longest_ms(attempts), cells)
    ]
    return [*drawn, (f" {seconds(attempt.duration_ms)}", "")] if drawn else []


def _facts(page: Page, attempt: Attempt) -> None:
    """Add all that is known of an attempt but its answer."""
    indent = page.indent
    page.flow([[(number, "dim")] for number in _numbers(attempt)], " · ", indent=indent)
    if attempt.error is not None:
        status = attempt.error.status
        known = status is None or str(status) in attempt.error.message
        prefix = "" if known else f"HTTP {status}: "
        page.fact("error", (f"{prefix}{attempt.error.message}", "red"), indent=indent)
    elif reason(attempt):
        page.fact("why" if attempt.verdict == "skip" else "feedback", (reason(attempt), ""), indent=indent)
    if attempt.checks:
        marks = [
            (f"{'✓' if one.passed else '✗'} {one.kind}  ", "" if one.passed else "yellow")
            for one in attempt.checks
        ]
        page.fact("checks", *marks, indent=indent)
    for one in attempt.checks:
        # What the feedback says already is not said twice.
        if not one.passed and one.message and one.message not in attempt.feedback:
            page.fact("", (f"✗ {one.kind}: {one.message}", ""), indent=indent)


def fill_labels(page: Page, history: Sequence[Label], *, indent: int) -> None:
    """Add what each reviewer says now of an attempt, with the note."""
    for number, label in enumerate(current_labels(history)):
        value = str(label.value)
        note = [(f": {one_line(label.note, NOTE_CHARS)}", "")] if label.note else []
        page.fact(
            "" if number else "label",
            *((value, LABEL_STYLES["good" if value == "good" else "bad"]), (f" by {label.reviewer}", "dim")),
            *note,
            indent=indent,
        )


def _numbers(attempt: Attempt) -> list[str]:
    if attempt.verdict == "skip":
        return []
    waited = "first token" if attempt.first_token_ms is not None else "waiting"
    names = {**NAMES, "first_token": waited}
    spent = [f"{names[phase]} {seconds(spent_ms)}" for phase, spent_ms in phases(attempt)]
    judge = [f"judge {attempt.verifier.model}"] if attempt.verifier.model else []
    retries = [f"{attempt.retries} retr{'y' if attempt.retries == 1 else 'ies'}"] if attempt.retries else []
    unusual = attempt.finish_reason not in {None, "stop"}
    ended = [f"finish reason {attempt.finish_reason}"] if unusual else []
    money = [dollars(attempt.cost_usd)] if attempt.cost_usd != 0 else []
    return [*spent, *judge, *retries, *ended, *_tokens(attempt.usage), *money]


def _one_attempt(page: Page, selection: Selection, number: int, now: datetime) -> None:
    stored = selection.heads[-1]
    attempt = nth_attempt(stored, number)
    result = stored.result
    page.add(*_title(result), hang=2)
    page.add((f"attempt {number} of {len(result.attempts)} of run {result.run_id}", "dim"), hang=2)
    if attempt.started_at is not None:
        page.add((f"{local_time(attempt.started_at)}, {ago(attempt.started_at, now)}", "dim"))
    page.gap()
    _legend(page, [attempt])
    _row(page, number, attempt, result)
    _facts(page, attempt)
    fill_labels(page, selection.labels.get(attempt.attempt_id, ()), indent=page.indent)
    sent = False
    for step in steps_of(stored, attempt):
        for message in step.messages:
            sent = True
            _message(page, message)
    if not sent:
        page.gap()
        tried = attempt.verdict != "skip"
        page.add(("the prompt was not stored" if tried else "no model was called", "dim"))
        if attempt.answer:
            _message(page, {"role": "assistant", "content": attempt.answer})


def _message(page: Page, message: dict[str, Any]) -> None:
    """Add one message, whole: a heading with its role, then its text."""
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    page.gap()
    heading = f"── {message_title(message)} "
    page.add((heading.ljust(min(page.width, 60), "─"), "bold"))
    if text and text != "null":
        page.text(text)
    for call in message.get("tool_calls") or ():
        page.add((f"calls {call_line(call)}", "cyan"), hang=2)


def _has_more_than_an_answer(step: Step) -> bool:
    return step.position > 0 or any(message.get("tool_calls") for message in step.messages)


def _hint(page: Page, shown: Sequence[StoredRun], detail: Detail) -> None:
    """Add commands that lead on, each on a row of its own, not wrapped: they are there to be copied.

    Those for which the log does not hold enough are left out.
    """
    newest = shown[-1]
    run = newest.result.run_id[-8:]
    hints = []
    if not detail.whole and (newest.task or any(one.answer for one in newest.result.attempts)):
        hints.append(("texts whole", f"sessions show {run} --full"))
    stored = [number for number, one in enumerate(newest.result.attempts, 1) if _has_prompt(newest, one)]
    if stored:
        hints.append(("with prompt", f"sessions show {run} --attempt {stored[-1]}"))
    if not detail.steps and any(_has_more_than_an_answer(step) for step in newest.steps):
        hints.append(("step by step", f"sessions show {run} --steps"))
    unfinished = next((one for one in reversed(shown) if can_go_on(one)), None)
    if unfinished is not None:
        hints.append(("go on", going_on_arguments(unfinished.result, short=True)))
    if newest.task is not None and not newest.images and not placeholders(newest.task):
        hints.append(("once more", f"rerun {run}"))
    for label, command in hints:
        heading = "" if page.narrow else f"{label:13}"
        page.row((heading, "dim"), (f"hyperguild {command}", "dim"))
