"""Old tool results shrink to a mark, for small windows. Pure; what is stored stays whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hyperguild.domain.messages import Message

WHOLE_STEPS = 2
"""Results of so many last steps stay whole."""

SHRINK_AT = 0.5
"""The share of the window that a prompt must pass before results shrink."""


class Shrinker:
    """Decides how far back results are whole; one for each attempt.

    The mark moves in one go, and only when the prompt has grown past its limit again: each move costs a
    local server the cached beginning of the prompt.
    """

    def __init__(self) -> None:
        self._whole_from = 0

    def move(self, messages: Sequence[Message]) -> bool:
        """Let results before the last two steps shrink from now on; return whether that changes anything."""
        steps = [place for place, message in enumerate(messages) if message.tool_calls]
        if len(steps) <= WHOLE_STEPS:
            return False
        whole_from = steps[-WHOLE_STEPS]
        moved = any(_shrinks(message) for message in messages[self._whole_from : whole_from])
        self._whole_from = max(self._whole_from, whole_from)
        return moved

    def view(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages as they are sent."""
        return tuple(
            _shrunk(message) if place < self._whole_from else message
            for place, message in enumerate(messages)
        )

    def forget(self) -> None:
        """Begin anew: the messages have been replaced."""
        self._whole_from = 0


def _mark(message: Message) -> str:
    return f"[prior result: {len(message.text)} chars]"


def _shrinks(message: Message) -> bool:
    return message.result is not None and len(_mark(message)) < len(message.text)


def _shrunk(message: Message) -> Message:
    """Return a result's message with a mark for its text; call id and error mark stay."""
    if message.result is None or not _shrinks(message):
        return message
    return replace(message, text=_mark(message), result=replace(message.result, text=_mark(message)))
