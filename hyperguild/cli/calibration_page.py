"""What `calibrate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.cli.number_table import NumberTable, fill_numbers, percent
from hyperguild.cli.page import PROSE_WIDTH, Page, Part
from hyperguild.cli.threshold_edits import Edits
from hyperguild.domain.text import one_line
from hyperguild.review.calibration import Bin, Calibration, Point, Wanted
from hyperguild.review.findings import why_none
from hyperguild.review.intervals import Rate
from hyperguild.review.tuning import Tuning

BAR = 20
"""Cells of a bar that stands for a share of 1; half as many where there is little room."""


def fill_page(page: Page, found: Sequence[Calibration], wanted: Wanted) -> None:
    """Put each judge and skill on the page: what it is worth, its reliability curve, its threshold."""
    page.label_width = 16
    for number, one in enumerate(found):
        if number:
            page.gap()
        page.add((one.judge, "bold"), (" judging ", "dim"), (one.skill, "bold"))
        _fill_labels(page, one)
        if one.labelled:
            _fill_rates(page, one)
            _fill_reliability(page, one.reliability)
        _fill_threshold(page, one, wanted)


def fill_edits(page: Page, edits: Edits | None, why_not: str | None, *, written: bool) -> None:
    """Put the edits on the page, or why there are none."""
    page.gap()
    if edits is None:
        page.add(("no edit is proposed: ", "yellow"), (why_not or "", ""))
        return
    for tuning in edits.tunings:
        _fill_tuning(page, tuning, edits.refused.get(tuning.verifier))
    if edits.changes:
        page.gap()
        for line in edits.diff():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            page.row((line, "bold" if line.startswith(("+++", "---")) else style))
        if not written:
            page.gap()
            page.add(("--write changes the file so", "dim"))


def _fill_labels(page: Page, one: Calibration) -> None:
    counts = {"disputed": one.disputed, "without a label": one.unlabelled}
    left_out = [f"{number:,} {what}" for what, number in counts.items() if number]
    others = f"; left out: {', '.join(left_out)}" if left_out else ""
    page.fact("labels", (f"{one.good:,} good, {one.bad:,} bad{others}", ""), indent=2)
    if one.without_word:
        text = f"of {one.without_word:,} the judge's own word was not kept: they say nothing of thresholds"
        page.fact("", (text, "dim"), indent=2)


def _fill_rates(page: Page, one: Calibration) -> None:
    for name, rate in (
        ("accuracy", one.accuracy),
        ("true accepts", one.true_accepts),
        ("false accepts", one.false_accepts),
    ):
        page.fact(name, *_rate(rate), indent=2)
    if one.brier is not None and one.calibration_error is not None:
        text = f"Brier score {one.brier:.3f}, calibration error {one.calibration_error:.3f}"
        page.fact("scores", (text, ""), indent=2)


def _rate(rate: Rate) -> list[Part]:
    if rate.share is None:
        return [("not known: no such answers", "dim")]
    seen = f"  {rate.count:,} of {rate.of:,}, between {percent(rate.low)} and {percent(rate.high)}"
    return [(percent(rate.share), "bold"), (seen, "dim")]


def _fill_reliability(page: Page, bins: Sequence[Bin]) -> None:
    """Draw the share of good answers by score; where scores are right, bars grow with them."""
    page.gap()
    cells = 0 if page.narrow else BAR // 2 if page.width < PROSE_WIDTH else BAR
    rows: list[list[Part]] = []
    for one in bins:
        share = one.good.share or 0.0
        bar = "█" * round(share * cells)
        rows.append(
            [
                (f"{one.low:.1f}–{one.high:.1f}", ""),
                (f"{one.good.of:,}", ""),
                (f"{one.mean_score:.2f}", ""),
                (percent(share), ""),
                (f"{percent(one.good.low)} to {percent(one.good.high)}", "dim"),
                (bar.ljust(cells, "·"), "cyan"),
            ]
        )
    header = ("score", "answers", "mean", "good", "between", "")
    fill_numbers(page, NumberTable(header, rows, indent=2))
    page.gap()


def _fill_threshold(page: Page, one: Calibration, wanted: Wanted) -> None:
    if one.now is not None:
        page.fact(f"now {one.now.accept_at:.4g}", *_effect(one.now), indent=2)
    target = percent(wanted.false_accepts)
    if one.proposal is not None and one.upper_bound is not None:
        stays = one.now is not None and one.now.accept_at == one.proposal.accept_at
        if not stays:
            page.fact(
                f"proposed {one.proposal.accept_at:.4g}", *_effect(one.proposal), indent=2, style="green"
            )
        sure, bound = percent(wanted.confidence), percent(one.upper_bound, 1)
        text = f"{'it can stay: ' if stays else ''}{sure} sure that it accepts under {bound} of bad answers"
        page.fact("", (f"{text} (wanted: {target})", "green"), indent=2)
        return
    asks = " (`hyperguild review` asks for labels)" if one.finding == "too_few_labels" else ""
    page.fact("no threshold", (why_none(one, wanted) + asks, "yellow"), indent=2, style="yellow")


def _effect(point: Point) -> list[Part]:
    rates = (("bad", point.false_accepts), ("good", point.true_accepts))
    known = [f"{percent(rate.share)} of {which}" for which, rate in rates if rate.share is not None]
    labelled = f"{' and '.join(known)} answers, " if known else ""
    every = f"{percent(point.accepted.share)} of the {point.accepted.of:,} that it judged"
    unknown = [which for which, rate in rates if rate.share is None]
    rest = f"; of {' and '.join(unknown)} ones not known" if unknown else ""
    return [(f"accepts {labelled}{every}{rest}", "")]


def _fill_tuning(page: Page, tuning: Tuning, refused: str | None) -> None:
    skills = ", ".join(tuning.skills)
    if tuning.accept_at == tuning.now:
        text = f"stays at accept_at {tuning.now:.4g} ({skills})"
    else:
        text = f"accept_at {tuning.now:.4g} becomes {tuning.accept_at:.4g} ({skills})"
    page.add(("verifier ", "dim"), (tuning.verifier, "bold"), (f": {text}", ""), hang=2)
    if len(tuning.skills) > 1:
        page.add(("they share it: the highest of their thresholds is taken", "dim"), indent=2)
    if tuning.others:
        others = one_line(", ".join(tuning.others), 200)
        page.add((f"used by {others} as well: it changes for them, too", "yellow"), indent=2)
    if refused is not None:
        page.add((f"set it by hand: {refused}", "yellow"), indent=2)
