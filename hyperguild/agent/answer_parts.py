"""An answer that comes in parts: it was cut off, or its model paused, and is gone on with. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hyperguild.domain.messages import Completion

MOST_CONTINUATIONS = 2
"""So often an answer that was cut off is continued."""


class AnswerParts:
    """The parts of one attempt's answer that stand before the step under way, or the last."""

    def __init__(self, parts: Sequence[str] = ()) -> None:
        self._parts = list(parts)
        self._pauses = 0

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._parts)

    def joined_by(self, text: str) -> str:
        """Return the answer as far as it goes with this text of a step."""
        return "".join([*self._parts, text])

    def forget(self) -> None:
        """Drop them: what comes now does not continue them."""
        self._parts.clear()
        self._pauses = 0

    def may_go_on(self, completion: Completion) -> bool:
        """Tell whether an answer that was cut off is to be continued."""
        cut_off = completion.finish_reason == "length" and bool(completion.text)
        return cut_off and len(self._parts) - self._pauses < MOST_CONTINUATIONS

    def add(self, completion: Completion) -> None:
        """Take one more part."""
        self._parts.append(completion.text)
        if completion.finish_reason == "paused":  # a turn that it gets back is no continuation
            self._pauses += 1
