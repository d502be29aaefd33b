"""A step that is under way: what is known of it at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from hyperguild.agent.watch import KeptStep
from hyperguild.domain.messages import FinishReason, Message
from hyperguild.domain.text import clipped_tail
from hyperguild.domain.tools import ToolCall
from hyperguild.domain.usage import Usage

REASONING_KEPT_CHARS = 20_000
"""Of a step's reasoning, in the log; its end, where the decision is."""


@dataclass(slots=True)
class OpenStep:
    """One step from its beginning until it is kept.

    `began` is a moment of the clock's `monotonic`. `usage` includes that of `failed_tries`. `calls` are those
    of its answer, with ids of their own; `pending` those of them that the caller of the run executes.
    """

    position: int
    began: float
    began_at: datetime
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    failed_tries: Usage = field(default_factory=Usage)
    calls: tuple[ToolCall, ...] = ()
    pending: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None

    def begin_anew(self) -> None:
        """Forget what was said: the next try says it anew. What it used stays used."""
        self.text.clear()
        self.reasoning.clear()
        self.failed_tries = self.usage

    def said(self) -> Message:
        """Return what it has said so far."""
        reasoning = clipped_tail("".join(self.reasoning), REASONING_KEPT_CHARS)
        return Message("assistant", "".join(self.text), reasoning=reasoning)

    def kept(self, model: str, messages: tuple[Message, ...], now: float, *, anew: bool) -> KeptStep:
        """Return it as it goes on record, with what was said and heard in it; `now` is its end."""
        return KeptStep(
            position=self.position,
            anew=anew,
            messages=messages,
            usage=self.usage,
            duration_ms=round((now - self.began) * 1000),
            began_at=self.began_at,
            model=model,
            finish_reason=self.finish_reason,
            pending=self.pending,
        )
