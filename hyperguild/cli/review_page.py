"""What `review` shows of an attempt: the task, the answer, and what checks and judge said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hyperguild.cli.page import Page
from hyperguild.cli.session_page import fill_labels
from hyperguild.cli.session_table import SUFFIX
from hyperguild.cli.view import COLOURS, MARKS
from hyperguild.domain.outcomes import outcome, reason
from hyperguild.domain.records import Attempt, StoredRun
from hyperguild.domain.review import Label
from hyperguild.domain.telling import ago
from hyperguild.domain.text import cleaned


@dataclass(frozen=True, slots=True)
class Shown:
    """An attempt with its run, which it is of how many, and all that was ever said of it."""

    number: int
    count: int
    run: StoredRun
    attempt: Attempt
    labels: tuple[Label, ...]


def fill_review(page: Page, shown: Shown, now: datetime) -> None:
    """Put an attempt on the page: task and answer folded, then the verdict and what it rests on."""
    attempt, result = shown.attempt, shown.run.result
    page.whole_with = "o shows it whole"
    head = f"── {shown.number}/{shown.count} "
    page.row((head + "─" * max(min(page.width, 60) - len(head), 0), "bold"))
    when = ago(shown.run.created_at, now)
    page.add(
        (result.skill, "bold"),
        (f" · chain {result.chain} · run {result.run_id[-SUFFIX:]} · {when}", "dim"),
        hang=2,
    )
    page.gap()
    page.quote("task", shown.run.task or "not stored")
    page.gap()
    page.quote("answer", attempt.answer)
    page.gap()
    page.fact(
        "verdict",
        (f"{MARKS[attempt.verdict]} {outcome(attempt)}", COLOURS[attempt.verdict]),
        (f"  {attempt.model} ({attempt.tier})", ""),
        *([(f", judge {attempt.verifier.model}", "dim")] if attempt.verifier.model else []),
    )
    if attempt.checks:
        page.fact(
            "checks",
            *(
                (f"{'✓' if one.passed else '✗'} {one.kind}  ", "" if one.passed else "yellow")
                for one in attempt.checks
            ),
        )
    if reason(attempt):
        page.quote("feedback", reason(attempt))
    fill_labels(page, shown.labels, indent=0)
    page.gap()


def whole_text(shown: Shown) -> str:
    """Return task and answer whole, fit for a terminal."""
    task = shown.run.task if shown.run.task is not None else "(not stored)"
    parts = ["── task ──", task.rstrip(), "", "── answer ──", shown.attempt.answer.rstrip(), ""]
    return cleaned("\n".join(parts))
