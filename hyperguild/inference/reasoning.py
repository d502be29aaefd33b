"""Splits `<think>…</think>` off the head of a text that comes in pieces."""

from __future__ import annotations

from hyperguild.domain.messages import ReasoningDelta, TextDelta

OPENING = "<think>"
CLOSING = "</think>"


class ThinkSplitter:
    """A state machine over pieces of text: `feed` them in order, `flush` at the end.

    Only a block at the very head (after white space) is reasoning; a later one is part of the answer. A block
    that is never closed is reasoning to its end. However the text is cut into pieces, the joined reasoning
    and the joined answer are the same.
    """

    def __init__(self) -> None:
        self._pending = ""
        self._blank: list[str] = []  # of the head; apart, so that much of it is not copied with every piece
        self._state = "head"

    def feed(self, text: str) -> list[TextDelta | ReasoningDelta]:
        """Take a piece; return what is certain by now."""
        self._pending += text
        if self._state == "head":
            self._leave_head()
        if self._state == "thinking":
            return self._think()
        if self._state == "gap":
            self._pending = self._pending.lstrip()
            if self._pending:
                self._state = "answer"
        if self._state == "answer":
            return self._take(self._pending, TextDelta)
        return []

    def flush(self) -> list[TextDelta | ReasoningDelta]:
        """Return what was held back; the text has ended."""
        if self._state == "head":
            self._pending = "".join(self._blank) + self._pending
        return self._take(self._pending, ReasoningDelta if self._state == "thinking" else TextDelta)

    def _leave_head(self) -> None:
        head = self._pending.lstrip()
        if blank := self._pending[: len(self._pending) - len(head)]:
            self._blank.append(blank)
            self._pending = head
        if head.startswith(OPENING):
            self._pending = head[len(OPENING) :]
            self._state = "thinking"
        elif not OPENING.startswith(head):
            self._pending = "".join(self._blank) + head
            self._state = "answer"

    def _think(self) -> list[TextDelta | ReasoningDelta]:
        thought, closing, rest = self._pending.partition(CLOSING)
        if closing:
            self._pending, self._state = "", "gap"
            out: list[TextDelta | ReasoningDelta] = [ReasoningDelta(thought)] if thought else []
            return out + self.feed(rest)
        safe = len(self._pending) - _overlap(self._pending, CLOSING)
        return self._take(self._pending[:safe], ReasoningDelta)

    def _take(
        self, text: str, part: type[TextDelta] | type[ReasoningDelta]
    ) -> list[TextDelta | ReasoningDelta]:
        self._pending = self._pending[len(text) :]
        return [part(text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """Return how many of the last characters of `text` could be the beginning of `tag`."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
