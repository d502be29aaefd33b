"""What follows a trip: a correction at first, the end of the attempt at the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hyperguild.agent.detectors import Trip, TripKind
from hyperguild.domain.text import clipped_tail, one_line

MOST_CORRECTIONS: Final = 1
MOST_FEEDBACK_CHARS: Final = 2_000
_QUOTED_CHARS: Final = 80

_REPEATED: Final = {
    "answer": "You wrote {subject} again and again, and were cut off. Do not write it again. Take the next "
    "step: call one tool, or give the final answer in a few sentences.",
    "reasoning": "Your thinking went in a circle at {subject}, and was cut off. Stop thinking about it. "
    "Decide with what you know: call one tool, or give the final answer now.",
    "arguments": "The arguments of your tool call repeated {subject} again and again; the call was dropped. "
    "Call the tool again with short and complete arguments. Split large content over several calls.",
}
_CORRECTIONS: Final[dict[TripKind, str]] = {
    "greeting": "Do not greet and do not offer help. The task was given in the first user message, and tool "
    "results are above. Go on with the task: call the next tool, or give the final answer.",
    "patch_spiral": "{times} writes or edits of {subject} failed. Stop patching it. Read the whole file, "
    "then write it whole, with its complete new content, in one call.",
    "repeated_call": "You called {subject} {times} times with the same arguments, and the result was the "
    "same each time. Calling it again will not change it. Use that result: try something else, or give the "
    "final answer.",
}
_CAUSES: Final[dict[TripKind, str]] = {
    "repetition": "it repeated {subject}",
    "greeting": "it greeted or offered help instead of answering",
    "patch_spiral": "{times} writes or edits of {subject} failed",
    "repeated_call": "it called {subject} {times} times with the same arguments and the same result",
}


@dataclass(frozen=True, slots=True)
class Correct:
    """Go on, with this message to the model."""

    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the attempt as an escalation with this cause, and this feedback for the next tier."""

    cause: TripKind
    feedback: str


class TripPolicy:
    """Counts the trips of one attempt, whatever their kinds: the first is corrected, the second ends it."""

    def __init__(self) -> None:
        self._trips: list[Trip] = []

    def take(self, trip: Trip, last_text: str) -> Correct | Stop:
        """Decide on a trip. `last_text` is what the model wrote last: its answer, else its reasoning."""
        self._trips.append(trip)
        if len(self._trips) <= MOST_CORRECTIONS:
            return Correct(correction(trip))
        return Stop(trip.kind, feedback(self._trips, last_text))


def correction(trip: Trip) -> str:
    """Return the message that tells a small model what went wrong and what to do next."""
    text = _REPEATED[trip.channel] if trip.kind == "repetition" else _CORRECTIONS[trip.kind]
    return text.format(subject=_subject(trip), times=trip.times)


def feedback(trips: list[Trip], last_text: str) -> str:
    """Return what the next tier is told, in at most 2,000 characters: why it ended, and the last text's end.

    Of a repetition in that text only the first unit is shown.
    """
    causes = [_CAUSES[trip.kind].format(subject=_subject(trip), times=trip.times) for trip in trips]
    said = f"The attempt was stopped: {causes[-1]}"
    if causes[:-1]:
        said += f" (and before that, corrected without success: {'; '.join(causes[:-1])})"
    said += "."
    shown = _less_repetition(last_text, trips[-1]).strip()
    if shown:
        said += "\nIts last text:\n"
        said += clipped_tail(shown, MOST_FEEDBACK_CHARS - len(said))
    return said


def _subject(trip: Trip) -> str:
    """Return the subject as it stands in a sentence: short, on one line, quoted."""
    return f'"{one_line(trip.subject, _QUOTED_CHARS)}"'


def _less_repetition(text: str, trip: Trip) -> str:
    if trip.kind != "repetition":
        return text
    start = text.find(trip.subject * 2)
    return text if start < 0 else text[: start + len(trip.subject)].rstrip() + " …"
