"""Puts into a conversation what its model did not say, and announces it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hyperguild.agent.conversation import Conversation
from hyperguild.agent.steering import Decision
from hyperguild.agent.watch import Injected, LoopWatch, Origin, Replaced
from hyperguild.domain.messages import Message
from hyperguild.ports import IdSource


class Interjections:
    """Interrupts one conversation; `forget` is called where its messages have been replaced."""

    def __init__(
        self, conversation: Conversation, watch: LoopWatch, ids: IdSource, forget: Callable[[], None]
    ) -> None:
        self._conversation = conversation
        self._watch = watch
        self._ids = ids
        self._forget = forget

    def inject(self, text: str, origin: Origin = "loop") -> None:
        """Add a message of the user."""
        self._watch.observe(Injected(Message("user", text), origin))
        self._conversation.inject(text)

    def replace(self, messages: Sequence[Message]) -> None:
        """Put a hook's messages in the place of all."""
        self._watch.observe(Replaced(len(messages), "hook"))
        self._conversation.replace(messages, self._ids.new_id)
        self._forget()

    def carry_out(self, decision: Decision) -> None:
        """Put in what hooks decided on after a step."""
        if decision.replaced is not None:
            self.replace(decision.replaced)
        for message in decision.appended:
            self._watch.observe(Injected(message, "hook"))
        if decision.appended:
            self._conversation.append(decision.appended, self._ids.new_id)
