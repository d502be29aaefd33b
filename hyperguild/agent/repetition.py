"""Notices, while a text streams in, that its tail is one unit over and over."""

from __future__ import annotations

from dataclasses import dataclass

from hyperguild.agent.repeated_unit import BEFORE_CHARS, least_chars

LONGEST_UNIT = 400
LEAST_TIMES = 3
LEAST_CHARS = 150

_STRIDE = LEAST_CHARS // LEAST_TIMES
"""How often the tail is looked at, and how much of it is looked for further up.

A run of period p that counts has at least max(3 p, 150) characters. At the last look before its end it has at
least that less 49, which is never under p + 50: the last 50 characters stand p further up as well, so each
such run is found, however the text was cut into deltas.
"""
_KEPT = LONGEST_UNIT * LEAST_TIMES + _STRIDE + BEFORE_CHARS
_FENCE = "```"
_FENCE_INDENT = 8


@dataclass(frozen=True, slots=True)
class Repetition:
    """What is repeated: the unit as it stood first, how often in full, and how many characters in all."""

    unit: str
    times: int
    chars: int


@dataclass(slots=True)
class _Run:
    """A stretch of one period that reaches to the end of the text.

    `chars` of it are there, `limit` trips; `unit` is as it stood first, once the run has been weighed.
    """

    period: int
    chars: int
    limit: int
    unit: str = ""


class RepetitionWatch:
    """Watches one text (the answer, the reasoning, the arguments of one call) for one step.

    It trips where the tail is a unit of 1 to 400 characters, at least 3 times and at least 150 characters in
    all; more of it where the unit is of a kind that real texts repeat (`repeated_unit`). What it finds, and
    at which character, depends on the text alone, not on how the text is cut into deltas. The memory is
    bounded; the time grows with the text's length only.
    """

    def __init__(self) -> None:
        self._text = ""
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._to_look = _STRIDE
        self._runs: list[_Run] = []
        self._fenced = False
        self._found: Repetition | None = None

    def feed(self, delta: str) -> Repetition | None:
        """Take the next piece of the text; return what has tripped, here or before, else None."""
        if self._found is not None:
            return self._found
        if delta:
            self._waiting.append(delta)
        self._waiting_chars += len(delta)
        if not self._runs and self._waiting_chars < self._to_look:
            return None
        text = "".join(self._waiting)
        self._waiting.clear()
        self._waiting_chars = 0
        start = 0
        while start < len(text) and self._found is None:
            piece = text[start : start + self._to_look]
            start += len(piece)
            self._take(piece)
        return self._found

    def _take(self, piece: str) -> None:
        """Take a piece that does not go past the next look."""
        end = len(self._text)
        self._text += piece
        if self._runs:
            self._follow(end)
        self._to_look -= len(piece)
        if self._to_look or self._found is not None:
            return
        self._to_look = _STRIDE
        self._note_fences()
        self._look()
        if len(self._text) > 2 * _KEPT:
            self._text = self._text[-_KEPT:]

    def _follow(self, end: int) -> None:
        """Extend the known runs by what was added at `end`; drop those that ended there."""
        going: list[_Run] = []
        reached: list[tuple[int, int]] = []
        for place, run in enumerate(self._runs):
            added = self._agreeing(end, run.period)
            run.chars += added
            if end + added == len(self._text):
                going.append(run)
            trip = self._trip(run, end + added)
            if trip is not None:
                reached.append((trip, place))
        if reached:
            self._report(self._runs[min(reached)[1]])
        self._runs = going

    def _agreeing(self, end: int, period: int) -> int:
        """Return how many characters from `end` on equal those one period earlier."""
        new = self._text[end:]
        old = self._text[end - period : len(self._text) - period]
        if new == old:
            return len(new)
        return next(i for i, (one, other) in enumerate(zip(new, old, strict=True)) if one != other)

    def _look(self) -> None:
        """Find the runs that reach to the end and may come to count before the next look.

        Beside a run of a short period that fills all that is looked at there is no other: two periods that
        share a stretch longer than their sum have a common divisor for a period (Fine and Wilf).
        """
        if any(run.period <= _STRIDE and run.chars >= LEAST_TIMES * LONGEST_UNIT for run in self._runs):
            return
        end = len(self._text)
        tail = self._text[-_STRIDE:]
        lowest = max(end - _STRIDE - LONGEST_UNIT, 0)
        place = self._text.rfind(tail, lowest, end - 1)
        while place >= 0 and self._found is None:
            self._try(end - _STRIDE - place)
            place = self._text.rfind(tail, lowest, place + _STRIDE - 1)

    def _try(self, period: int) -> None:
        """Begin to follow the run of this period, if there is one that is long enough and new."""
        if any(self._implies(run, period) for run in self._runs):
            return
        limit = max(LEAST_TIMES * period, LEAST_CHARS)
        chars = limit - _STRIDE + 1
        text, end = self._text, len(self._text)
        if chars > end or text[end - chars : end - period] != text[end - chars + period :]:
            return
        while chars < min(limit, end) and text[end - chars - 1] == text[end - chars - 1 + period]:
            chars += 1
        run = _Run(period, chars, limit)
        self._runs.append(run)
        if self._trip(run, end) is not None:
            self._report(run)

    @staticmethod
    def _implies(run: _Run, period: int) -> bool:
        """Tell whether a run of `period` begins and ends where this one does, and so says nothing new."""
        return period % run.period == 0 and (run.chars > period or period == run.period)

    def _trip(self, run: _Run, end: int) -> int | None:
        """Return where a run that reaches to `end` became too long; None if it is not."""
        while run.chars >= run.limit:
            reached = end - (run.chars - run.limit)
            if run.unit:
                return reached
            start = reached - run.limit
            run.unit = self._text[start : start + run.period]
            before = self._text[max(start - BEFORE_CHARS, 0) : start]
            run.limit = max(run.limit, least_chars(run.unit, before=before, fenced=self._fenced))
        return None

    def _report(self, run: _Run) -> None:
        self._found = Repetition(run.unit, run.limit // run.period, run.limit)

    def _note_fences(self) -> None:
        """Follow whether the text is within a fenced block, over what came since the last look."""
        text = self._text
        place = text.find(_FENCE, max(len(text) - _STRIDE - len(_FENCE) + 1, 0))
        while place >= 0:
            head = text[max(place - _FENCE_INDENT, 0) : place]
            starts_line = "\n" in head or place == len(head)
            if starts_line and not head.rpartition("\n")[2].strip():
                self._fenced = not self._fenced
            place = text.find(_FENCE, place + 1)
