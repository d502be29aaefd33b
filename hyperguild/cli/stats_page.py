"""What `stats` prints."""

from __future__ import annotations

from rich.cells import cell_len

from hyperguild.cli.number_table import NumberTable, fill_numbers, percent, short_count, short_time
from hyperguild.cli.page import Page, Part
from hyperguild.domain.records import SpeculationUse
from hyperguild.domain.telling import dollars
from hyperguild.domain.text import one_line
from hyperguild.review.savings import Saved
from hyperguild.review.statistics import Group, Statistics


def fill_page(page: Page, found: Statistics, why_unknown: str | None) -> None:
    """Put the tables on the page: how runs ended, how long it took, what it cost.

    `why_unknown` says why the last tiers, and so what was saved, are not known.
    """
    groups = [*found.groups, *([found.whole] if len(found.groups) > 1 else [])]
    page.flow(_heading(found), " · ")
    page.gap()
    fill_numbers(page, NumberTable((found.by, *_ENDED), [_ended(group) for group in groups]))
    _fill_kinds(page, found)
    page.gap()
    latency = [row for group in groups for row in _latencies(group)]
    fill_numbers(page, NumberTable(("latency", "", *_PHASES), latency))
    page.gap()
    fill_numbers(page, NumberTable(("money", *_MONEY), [_money(group) for group in groups]))
    page.gap()
    _fill_notes(page, found.whole, why_unknown)


LISTED_GROUPS = 10
"""Groups whose kinds of errors are listed one by one; of more, only those of all together."""

_ENDED = ("runs", "accepted", "escalated", "errors", "warm")
_PHASES = ("whole", "load", "1st token", "answer", "judge")
_MONEY = ("tokens in", "out", "cost", "of judges", "saved")


def _heading(found: Statistics) -> list[list[Part]]:
    whole = found.whole
    delegated = f", {whole.delegated:,} of them delegated" if whole.delegated else ""
    of_attempts = found.by in {"model", "tier"}
    return [
        [(f"{_counted(whole.runs, 'run')}{delegated}", "bold")],
        [(_counted(whole.attempts, "attempt"), "")],
        [("shares are of attempts" if of_attempts else "shares are of runs that ended", "dim")],
    ]


def _ended(group: Group) -> list[Part]:
    return [
        (group.group, "bold"),
        (f"{group.runs:,}", ""),
        (percent(group.acceptance_rate), "green" if group.acceptance_rate else ""),
        (percent(group.escalation_rate), "yellow" if group.escalation_rate else ""),
        (f"{group.failed:,}", "red" if group.failed else ""),
        (percent(group.warm_share), ""),
    ]


def _latencies(group: Group) -> list[list[Part]]:
    latency = group.latency
    spreads = (latency.whole, latency.load, latency.first_token, latency.answer, latency.judge)
    return [
        [(group.group, "bold"), ("p50", "dim"), *((short_time(one.p50_ms), "") for one in spreads)],
        [("", ""), ("p95", "dim"), *((short_time(one.p95_ms), "") for one in spreads)],
    ]


def _money(group: Group) -> list[Part]:
    unknown = " + ?" if group.cost_unknown else ""
    # What adds up to nothing is not shown as a loss of a hair's breadth.
    saved = None if group.saved.usd is None else round(group.saved.usd, 6)
    return [
        (group.group, "bold"),
        (short_count(group.usage.input_tokens), ""),
        (short_count(group.usage.output_tokens), ""),
        (f"{dollars(group.cost_usd)}{unknown}", ""),
        (dollars(group.judge_cost_usd), ""),
        (_signed(saved), "" if not saved else ("green" if saved > 0 else "red")),
    ]


def _signed(usd: float | None) -> str:
    if usd is None:
        return "–"
    return dollars(usd) if usd >= 0 else f"-{dollars(-usd)}"


def _fill_kinds(page: Page, found: Statistics) -> None:
    """Name the kinds of errors, and why answers were refused: group by group, unless there are many."""
    listed = found.groups if len(found.groups) <= LISTED_GROUPS else [found.whole]
    for title, name in (("errors", "errors"), ("refused", "causes")):
        groups = [(group.group, getattr(group, name)) for group in listed if getattr(group, name)]
        if groups:
            page.gap()
            page.add((f"{title}:", "dim"))
        page.label_width = min(max((cell_len(group) for group, _ in groups), default=0), page.width // 3) + 2
        for group, counts in groups:
            kinds = ", ".join(f"{kind.replace('_', ' ')} ×{count:,}" for kind, count in counts.items())
            page.fact(one_line(group, page.label_width - 2), (kinds, ""), indent=2, style="bold")


def _fill_notes(page: Page, whole: Group, why_unknown: str | None) -> None:
    if whole.cost_unknown:
        page.add((f"?  the cost of {_counted(whole.cost_unknown, 'attempt')} is not known", "dim"), hang=3)
    page.add(("saved: ", "dim"), (_basis(whole.saved, why_unknown), "dim"), hang=7)
    if whole.speculation is not None:
        page.add(("begun early: ", "dim"), (_speculation_text(whole.speculation), "dim"), hang=13)


def _speculation_text(use: SpeculationUse) -> str:
    """Say what came of work that was begun before it was needed."""
    wasted = f"{short_count(use.wasted_tokens)} tokens and {dollars(use.wasted_usd)} wasted"
    needed = f"needed {_counted(use.hits, 'time')}, {short_time(use.saved_ms)} saved"
    return f"{needed}; not needed {_counted(use.misses, 'time')}; {wasted}"


def _basis(saved: Saved, why_unknown: str | None) -> str:
    """Say what the runs are compared with."""
    parts = []
    if saved.recorded:
        parts.append(
            f"against what the last tier's answers cost on record ({_counted(saved.recorded, 'run')})"
        )
    if saved.listed:
        parts.append(f"against the last tier's listed price ({_counted(saved.listed, 'run')})")
    if saved.unknown:
        parts.append(f"not known of {_counted(saved.unknown, 'run')}")
    if why_unknown:
        parts.append(why_unknown)
    return "; ".join(parts) or "no runs to compare"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
