"""The report of the quality bench: one value from all walks, as a Markdown table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measure import table
from quality_figures import (
    ChainFigures,
    Outcome,
    Share,
    chain_figures,
    differing,
    digest,
    perfect_figures,
    random_accuracy,
    right_answers,
)

HEADER = (
    "who answers",
    "right (95 %)",
    "strong calls",
    "wrong ones accepted",
    "right ones refused",
    "by lot, same share",
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """For how many prompts the walks did not say the same: the weak model, the strong one, the judge's score.

    The strong model is compared over the prompts that it was asked in every walk.
    """

    weak: int
    strong: int
    scores: int
    walks: int


@dataclass(frozen=True, slots=True)
class Report:
    """All figures. `chains` maps each threshold to those of its chain, in rising order."""

    prompts: int
    weak_name: str
    strong_name: str
    weak: Share
    strong: Share
    chains: Mapping[float, ChainFigures]
    perfect: ChainFigures
    agreement: Agreement
    digest: str

    def by_lot(self, share: float) -> float:
        """Return the expected accuracy where a share of the runs, drawn by lot, goes to the strong model."""
        return random_accuracy(self.weak.value, self.strong.value, share)


def report_of(
    weak: tuple[str, Sequence[Outcome]],
    strong: tuple[str, Sequence[Outcome]],
    chains: Mapping[float, Sequence[Outcome]],
) -> Report:
    """Make the report of the two tiers alone (name, outcomes) and of the chain at each threshold.

    All hold the same prompts in the same order; raises `ValueError` where their numbers differ.
    """
    (weak_name, weak_runs), (strong_name, strong_runs) = weak, strong
    thresholds = sorted(chains)
    judged = [chains[at] for at in thresholds]
    always_asked = [all(run.escalated for run in runs) for runs in zip(*judged, strict=True)]
    finals = [
        [run.final for run, asked in zip(walk, always_asked, strict=True) if asked]
        for walk in (strong_runs, *judged)
    ]
    return Report(
        prompts=len(weak_runs),
        weak_name=weak_name,
        strong_name=strong_name,
        weak=right_answers(weak_runs),
        strong=right_answers(strong_runs),
        chains={at: chain_figures(chains[at]) for at in thresholds},
        perfect=perfect_figures(weak_runs, strong_runs),
        agreement=Agreement(
            weak=differing([[run.first for run in walk] for walk in (weak_runs, *judged)]),
            strong=differing(finals),
            scores=differing([[run.score for run in walk] for walk in judged]),
            walks=len(judged),
        ),
        digest=digest([weak_runs, strong_runs, *judged]),
    )


def percent(share: float) -> str:
    """Return a share as it is printed: `74.7 %`."""
    return f"{share * 100:.1f} %"


def as_markdown(report: Report) -> str:
    """Return the table: floors, the chain at each threshold, ceilings."""
    rows = [[f"{report.weak_name} alone", _right(report.weak), percent(0), "", "", ""]]
    rows += [_chain_row(report, f"chain, accept_at {at:g}", figures) for at, figures in report.chains.items()]
    rows += [
        _chain_row(report, "chain, a perfect verifier", report.perfect),
        [f"{report.strong_name} alone", _right(report.strong), percent(1), "", "", ""],
    ]
    return table(HEADER, rows)


def _chain_row(report: Report, name: str, figures: ChainFigures) -> list[str]:
    return [
        name,
        _right(figures.right),
        percent(figures.strong.value),
        _of(figures.false_accepts),
        _of(figures.false_refusals),
        percent(report.by_lot(figures.strong.value)),
    ]


def _right(share: Share) -> str:
    low, high = share.interval
    return f"{percent(share.value)} ({low * 100:.1f}-{high * 100:.1f})"


def _of(share: Share) -> str:
    return f"{percent(share.value)} ({share.hits} of {share.total})"


def as_json(report: Report) -> dict[str, Any]:
    """Return everything as JSON: shares from 0 to 1, counts as `hits` and `total`."""
    return {
        "prompts": report.prompts,
        "weak": {"model": report.weak_name, "right": _share(report.weak)},
        "strong": {"model": report.strong_name, "right": _share(report.strong)},
        "chains": [{"accept_at": at} | _chain(report, figures) for at, figures in report.chains.items()],
        "perfect_verifier": _chain(report, report.perfect),
        "prompts_answered_differently": {
            "weak": report.agreement.weak,
            "strong": report.agreement.strong,
            "judge_score": report.agreement.scores,
        },
        "digest": report.digest,
    }


def _chain(report: Report, figures: ChainFigures) -> dict[str, Any]:
    return {
        "right": _share(figures.right),
        "strong_calls": _share(figures.strong),
        "false_accepts": _share(figures.false_accepts),
        "false_refusals": _share(figures.false_refusals),
        "right_by_lot": round(report.by_lot(figures.strong.value), 4),
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {
        "value": round(share.value, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "hits": share.hits,
        "total": share.total,
    }
