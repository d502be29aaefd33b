"""What `sessions show --steps` prints: each step of an attempt, its calls and their results."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hyperguild.cli.page import Page
from hyperguild.domain.message_lines import CALL_CHARS, call_line, message_title, prompt_length
from hyperguild.domain.records import Step, StoredRun
from hyperguild.domain.telling import seconds
from hyperguild.domain.text import cleaned, clipped, one_line

SHOWN_LINES = 6
SHOWN_CHARS = 600


def fill_steps(page: Page, stored: StoredRun, *, whole: bool) -> None:
    """Add the steps of every attempt, oldest first; long results are cut, unless `whole`."""
    titles = {
        attempt.attempt_id: f"attempt {number}, {attempt.model}"
        for number, attempt in enumerate(stored.result.attempts, 1)
    }
    attempt_id = ""
    for step in stored.steps:
        if step.attempt_id != attempt_id:
            attempt_id = step.attempt_id
            page.gap()
            page.add((f"steps of {titles.get(attempt_id, 'an attempt that did not end')}", "bold"))
        _step(page, step, whole=whole)


def _step(page: Page, step: Step, *, whole: bool) -> None:
    used = f"{step.usage.input_tokens:,} → {step.usage.output_tokens:,} tokens"
    kind = f"step {step.position + 1}" if step.kind == "step" else step.kind
    page.gap()
    page.add((kind, "bold"), (f"  {seconds(step.duration_ms)} · {used}", "dim"))
    messages = step.messages
    if step.anew:  # the prompt is the task and what came before: --attempt shows it
        messages = messages[prompt_length(messages) :]
    for message in messages:
        _said(page, message, whole=whole)


def _said(page: Page, message: dict[str, Any], *, whole: bool) -> None:
    text = str(message.get("content") or "")
    if message.get("role") == "tool":
        style = "red" if message.get("is_error") else "dim"
        page.add((f"  {message_title(message)}{_took(message)}", style), hang=4)
    margin = "  "
    if text and message.get("role") in {"user", "system"}:  # a hook's, a correction, a summary
        page.add(("  the model is told", "yellow"), hang=4)
        margin = "    "
    for line in _lines(text, whole=whole):
        page.add((f"{margin}{line}", ""), hang=len(margin))
    for call in message.get("tool_calls") or ():
        page.add((f"  → {call_line(call)}", "cyan"), hang=4)
    for source in message.get("sources") or ():
        named = one_line(f"{source.get('title', '')} {source.get('url', '')}", CALL_CHARS)
        page.add((f"  source: {named}", "dim"), hang=4)


def _lines(text: str, *, whole: bool) -> list[str]:
    lines = cleaned(text if whole else clipped(text, SHOWN_CHARS)).splitlines()
    if whole or len(lines) <= SHOWN_LINES:
        return lines
    return [*lines[:SHOWN_LINES], f"… {len(lines) - SHOWN_LINES} more lines (--full)"]


def _took(message: dict[str, Any]) -> str:
    try:
        began, ended = (datetime.fromisoformat(message[name]) for name in ("started_at", "ended_at"))
    except (KeyError, TypeError, ValueError):
        return ""
    return f" · {seconds(round((ended - began).total_seconds() * 1000))}"
