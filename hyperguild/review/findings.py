"""Why a calibration proposes no threshold, in words that every face shows."""

from __future__ import annotations

from hyperguild.review.calibration import Calibration, Wanted


def why_none(found: Calibration, wanted: Wanted) -> str:
    """Say why no threshold keeps what is wanted: a sentence without its capital letter and full stop."""
    bound = f"{100 * wanted.false_accepts:g} %"
    known = found.bad if found.now is None else found.now.false_accepts.of
    match found.finding:
        case "too_few_labels":
            return _too_few(
                known, found.more_bad or 0, f"to be {100 * wanted.confidence:g} % sure of {bound}"
            )
        case "too_generous":
            return (
                f"the judge gives more than {bound} of bad answers a full score; a better rubric or another"
                " judge may help"
            )
        case "no_good_labels":
            return "no answer is labelled good: what a threshold would cost cannot be told"
        case _:
            return f"one that keeps false accepts under {bound} would accept no good answer either"


def _too_few(known: int, more: int, aim: str) -> str:
    if known == 0:
        asks = f"{aim} it takes about {more:,}, even if the judge lets none of them pass"
        return f"no answer is labelled bad: {asks}"
    few = "one answer labelled bad is" if known == 1 else f"{known:,} answers labelled bad are"
    return f"{few} too few {aim}: about {more:,} more are needed, if the judge goes on like this"
