"""What `replay` prints: chains side by side, how they differ, what is not known; or one object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from hyperguild.cli.page import Page
from hyperguild.domain.telling import dollars, seconds
from hyperguild.review.estimates import Estimate
from hyperguild.review.figures import ChainFigures, Differences, Missing

ENDS = {
    "accepted": "accepted",
    "best_effort": "best effort",
    "exhausted": "exhausted",
    "budget_exceeded": "out of budget",
}
UNKNOWN = "–"
OF_ONE = "(one task)"
"""In place of an interval: one task says nothing of how much they vary."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was replayed: how many tasks, of which skills; each chain under its title, with its judges."""

    tasks: int
    skills: tuple[str, ...]
    verifier: str
    chains: tuple[tuple[str, ChainFigures], ...]
    judges: tuple[tuple[str, ...], ...]
    difference: Differences | None


def report_object(report: Report) -> dict[str, Any]:
    """Return the report as JSON; figures that are not known are null."""
    return {
        "tasks": report.tasks,
        "skills": list(report.skills),
        "verifier": report.verifier,
        "chains": [{"title": title, **dataclasses.asdict(chain)} for title, chain in report.chains],
        "difference": None if report.difference is None else dataclasses.asdict(report.difference),
    }


def fill_page(page: Page, report: Report) -> None:
    """Put the report on the page: a table, or where there is no room the figures one under the other."""
    named = ", ".join(report.skills)
    page.add((f"{report.tasks} tasks", "bold"), (f" of {named}; verifier: {report.verifier}", ""))
    page.gap()
    header = ["", *(title for title, _ in report.chains)]
    if report.difference is not None:
        header.append("difference")
    rows = _rows(report)
    widths = [max(cell_len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    if page.wraps and sum(widths) + 2 * (len(widths) - 1) > page.width:
        _one_under_the_other(page, header, rows)
    else:
        for row in [header, *rows]:
            cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            page.row(("  ".join(cells), "dim" if row is header else ""))
    page.gap()
    for line in _remarks(report):
        page.add((line, ""), hang=2)


def _rows(report: Report) -> list[list[str]]:
    """Return label, a cell for each chain, and where there are two their difference; none without figures."""
    chains = [chain for _, chain in report.chains]
    tiers = range(max(len(chain.tiers) for chain in chains))
    change = report.difference or Differences(None, None, None, None)
    rows = [
        ["known tasks", *(f"{one.known} of {one.tasks}" for one in chains), ""],
        *(["asks tier " + str(at + 1), *(_tier(one, at) for one in chains), ""] for at in tiers),
        ["escalated", *(_share(one.escalated) for one in chains), _change(change.escalated, _points)],
        ["quality", *(_share(one.quality) for one in chains), _change(change.quality, _points)],
        ["cost a task", *(_amount(one.cost_usd, _usd) for one in chains), _change(change.cost_usd, _usd)],
        [
            "time a task",
            *(_amount(one.duration_ms, _time) for one in chains),
            _change(change.duration_ms, _time),
        ],
        *(["tier " + str(at + 1) + " alone", *(_alone(one, at) for one in chains), ""] for at in tiers),
        ["gap closed", *(_plain(one.gap_closed) for one in chains), ""],
        ["ends", *(_ends(one) for one in chains), ""],
    ]
    told = [row for row in rows if any(cell not in {"", UNKNOWN} for cell in row[1:])]
    return told if report.difference is not None else [row[:-1] for row in told]


def _tier(chain: ChainFigures, at: int) -> str:
    if at >= len(chain.tiers):
        return ""
    return f"{_plain(_value(chain.tiers[at].reached))} {chain.tiers[at].model}"


def _alone(chain: ChainFigures, at: int) -> str:
    return _share(chain.tiers[at].alone) if at < len(chain.tiers) else ""


def _ends(chain: ChainFigures) -> str:
    return ", ".join(f"{ENDS[end]} {round(count, 1):g}" for end, count in sorted(chain.ends.items()))


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _plain(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return UNKNOWN
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def _amount(estimate: Estimate | None, written: Callable[[float], str]) -> str:
    if estimate is None:
        return UNKNOWN
    if estimate.n == 1:
        return f"{written(estimate.value)} {OF_ONE}"
    return f"{written(estimate.value)} ({written(estimate.low)}–{written(estimate.high)})"


def _change(estimate: Estimate | None, written: Callable[[float], str]) -> str:
    if estimate is None:
        return UNKNOWN
    if estimate.n == 1:
        return f"{_signed(estimate.value, written)} {OF_ONE}"
    low, high = _signed(estimate.low, written), _signed(estimate.high, written)
    return f"{_signed(estimate.value, written)} ({low} to {high})"


def _signed(value: float, written: Callable[[float], str]) -> str:
    text = written(abs(value))
    if text == written(0.0):
        return text
    return f"{'+' if value > 0 else '−'}{text}"


def _points(value: float) -> str:
    return f"{value:.3f}"


def _usd(value: float) -> str:
    return f"−{dollars(-value)}" if value < 0 else dollars(value)


def _time(value: float) -> str:
    return f"−{seconds(round(-value))}" if value < 0 else seconds(round(value))


def _one_under_the_other(page: Page, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        page.add((row[0], "bold"))
        for title, cell in zip(header[1:], row[1:], strict=True):
            if cell:
                page.add((f"{title}: {cell}", ""), indent=2, hang=2)


def _remarks(report: Report) -> list[str]:
    """Return what must be known to read the figures: what is missing, and what stands in for what."""
    lines = []
    for (title, chain), judges in zip(report.chains, report.judges, strict=True):
        lines += [f"{title}: {_missing(one, judges, chain.tasks)}" for one in chain.missing]
        if chain.other_prompts:
            lines.append(
                f"{title}: in {chain.other_prompts} of {chain.tasks} tasks an answer stands in for one to"
                " another prompt (with an earlier attempt's feedback, or without)"
            )
        lines += _partly(title, chain)
    lines += _known_of_both(report)
    if any(chain.quality is not None for _, chain in report.chains):
        lines.append(
            "quality: the share of good answers by label; a task that ends without one is not good;"
            " a tier alone: of its model's labelled answers"
        )
    return lines


def _missing(missing: Missing, judges: Sequence[str], tasks: int) -> str:
    of = f"for {missing.tasks} of {tasks} tasks"
    match missing.kind:
        case "answer":
            return f"no recorded answer of {missing.model} {of}"
        case "text":
            return f"the log did not keep the answer of {missing.model} {of}"
        case "checks":
            return f"checks were not run on the answer of {missing.model} {of}"
        case "judgement":
            return f"no recorded judgement of {missing.model}'s answer by {' or '.join(judges)} {of}"
        case "label":
            return f"no label of {missing.model}'s answer {of}"


def _partly(title: str, chain: ChainFigures) -> list[str]:
    """Say of how many tasks a figure is, where those are not all that are known."""
    figures = (("quality", chain.quality), ("cost", chain.cost_usd), ("time", chain.duration_ms))
    absent = [name for name, estimate in figures if estimate is None] if chain.known else []
    told = [name for name, estimate in figures if estimate is not None]
    lines = [f"{title}: not on record: {_listed(absent)}"] if absent else []
    if told and chain.known < chain.tasks:
        lines.append(
            f"{title}: {_listed(told)} of the {chain.known} known tasks alone: the other"
            f" {chain.tasks - chain.known} may well be harder and dearer, and no interval allows for that"
        )
    lines += [
        f"{title}: {name} is known of {estimate.n} of {chain.known} tasks"
        for name, estimate in figures
        if estimate is not None and estimate.n < chain.known
    ]
    return lines


def _known_of_both(report: Report) -> list[str]:
    """Say of how many tasks the differences are, where those are not all: which they are is no chance."""
    change = report.difference
    if change is None:
        return []
    figures = (("quality", change.quality), ("cost", change.cost_usd), ("time", change.duration_ms))
    parts = [
        f"{name} of {estimate.n}"
        for name, estimate in figures
        if estimate is not None and estimate.n < report.tasks
    ]
    if not parts:
        return []
    known = f"{_listed(parts)} of {report.tasks} tasks, those known of both"
    return [f"difference: {known}; it is mostly where chains part that answers are missing"]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
