"""What a calibration comes to, in a sentence."""

from __future__ import annotations

from hyperguild.review.calibration import Calibration, Point, Wanted
from hyperguild.review.findings import why_none


def finding_text(found: Calibration, wanted: Wanted) -> str:
    """Say which threshold keeps what is wanted, or why none does."""
    bound = f"{100 * wanted.false_accepts:g} %"
    if found.proposal is not None:
        return _threshold_text(found, found.proposal, bound, wanted)
    return f"No threshold: {why_none(found, wanted)}."


def _threshold_text(found: Calibration, proposal: Point, bound: str, wanted: Wanted) -> str:
    same = found.now is not None and found.now.accept_at == proposal.accept_at
    applies = ", which applies now," if same else ""
    now = "" if same or found.now is None else f" Now it is {found.now.accept_at:.2f}."
    kept = proposal.true_accepts
    return (
        f"accept_at {proposal.accept_at:.2f}{applies} keeps false accepts under {bound}, as sure as "
        f"{100 * wanted.confidence:g} %, and accepts {kept.count} of {kept.of} good answers.{now}"
    )
