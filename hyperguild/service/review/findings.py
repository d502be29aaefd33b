"""What a calibration comes to, in a sentence."""

from __future__ import annotations

from hyperguild.review.calibration import Calibration, Point, Wanted


def finding_text(found: Calibration, wanted: Wanted) -> str:
    """Say which threshold keeps what is wanted, or why none does."""
    bound = f"{100 * wanted.false_accepts:g} %"
    if found.proposal is not None:
        return _threshold_text(found, found.proposal, bound, wanted)
    if found.finding == "too_few_labels":
        return (
            f"Too few answers are labelled bad to be sure that fewer than {bound} of them are accepted: "
            f"about {found.more_bad} more are needed."
        )
    if found.finding == "too_generous":
        return f"It gives bad answers full scores: no threshold keeps false accepts under {bound}."
    if found.finding == "no_good_labels":
        return "No answer is labelled good: what a threshold would cost cannot be told."
    return f"Only a threshold that no good answer reaches keeps false accepts under {bound}."


def _threshold_text(found: Calibration, proposal: Point, bound: str, wanted: Wanted) -> str:
    same = found.now is not None and found.now.accept_at == proposal.accept_at
    applies = ", which applies now," if same else ""
    now = "" if same or found.now is None else f" Now it is {found.now.accept_at:.2f}."
    kept = proposal.true_accepts
    return (
        f"accept_at {proposal.accept_at:.2f}{applies} keeps false accepts under {bound}, as sure as "
        f"{100 * wanted.confidence:g} %, and accepts {kept.count} of {kept.of} good answers.{now}"
    )
