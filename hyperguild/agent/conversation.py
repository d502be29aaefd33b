"""The transcript of an attempt: its prompt, what was said since, and how much of both is on record. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hyperguild.agent.compaction import Plan, plan
from hyperguild.agent.transcript import repaired
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.usage import Usage

NOTHING_SAID = "[This turn was stopped before it said anything.]"
"""Stands for an answer that left nothing to keep: many chat templates refuse two user messages in a row."""


class Conversation:
    """What one attempt has said and been told.

    `prompt` ends with the task (and a summary, where there is one), `since` is all that came after it.
    `anew` says that the prompt is not on record yet; `fresh` is what of `since` is not.
    """

    def __init__(self, prompt: Sequence[Message], since: Sequence[Message] = (), *, on_record: bool) -> None:
        self.prompt = tuple(prompt)
        self.since: list[Message] = list(since)
        self.anew = not on_record
        self._base = self.prompt
        self._summary = ""
        self._kept = len(self.since) if on_record else 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole of it."""
        return (*self.prompt, *self.since)

    @property
    def fresh(self) -> tuple[Message, ...]:
        """What was said since the last `take`."""
        return tuple(self.since[self._kept :])

    @property
    def used_tools(self) -> bool:
        """Whether any call has a result."""
        return any(message.result is not None for message in self.since)

    @property
    def call_ids(self) -> set[str]:
        """The ids that calls have."""
        return {call.id for message in self.messages for call in message.tool_calls}

    def take(self) -> tuple[Message, ...]:
        """Return what is to be put on record: what is fresh, with the prompt where that is new."""
        taken = (*(self.prompt if self.anew else ()), *self.fresh)
        self._kept, self.anew = len(self.since), False
        return taken

    def inject(self, text: str) -> Message:
        """Add a message of the user; return it. It joins one that is not on record yet."""
        message = Message("user", text)
        last = self.since[-1] if self.since else None
        if last is None or (last.role == "user" and not self.fresh):
            self.since.append(Message("assistant", NOTHING_SAID))
        elif last.role == "user":
            message = Message("user", f"{self.since.pop().text}\n\n{text}")
        elif self.fresh and _is_blank(last):
            self.since[-1] = replace(last, text=NOTHING_SAID)
        self.since.append(message)
        return message

    def append(self, messages: Sequence[Message], new_id: Callable[[], str]) -> None:
        """Add messages that somebody else made; what they break of the transcript is repaired."""
        whole = (*self.messages, *messages)
        mended = repaired(whole, new_id)
        if mended[: len(whole) - len(messages)] == self.messages:
            self.since += mended[len(self.messages) :]
        else:
            self._begin(mended)

    def replace(self, messages: Sequence[Message], new_id: Callable[[], str]) -> None:
        """Put other messages in the place of all; what they break is repaired.

        What they have in common with the prompt stays the prompt; else it reaches to their first message of a
        user.
        """
        self._begin(repaired(messages, new_id))

    def plan(self) -> Plan | None:
        """Return what a summary would replace; None where there is nothing old enough."""
        return plan(self._base, self.since, earlier=self._summary)

    def compact(self, chosen: Plan, summary: str, draw: Callable[[], str]) -> tuple[Message, ...]:
        """Put a summary in the place of the old messages; return the transcript, for the record.

        `draw` gives nonces; raises `NonceError`.
        """
        compacted = chosen.compacted(summary, draw)
        self._summary = summary
        self.prompt, self.since = compacted[: len(self._base)], list(chosen.recent)
        self._kept, self.anew = len(self.since), False
        return compacted

    def last_completion(self) -> Completion | None:
        """Return the last step that called tools, as far as the transcript tells; None where none did."""
        called = (message for message in reversed(self.since) if message.tool_calls)
        last = next(called, None)
        if last is None:
            return None
        return Completion(last.text, "tool_calls", Usage(), 0, tool_calls=last.tool_calls)

    def last_text(self) -> str:
        """Return what the model said last; empty where it said nothing."""
        said = (message.text for message in reversed(self.since) if message.role == "assistant")
        return next((text for text in said if text not in {"", NOTHING_SAID}), "")

    def _begin(self, messages: Sequence[Message]) -> None:
        length = len(self.prompt)
        if tuple(messages[:length]) != self.prompt:
            users = [place for place, message in enumerate(messages) if message.role == "user"]
            length = users[0] + 1 if users else len(messages)
            self._base, self._summary = tuple(messages[:length]), ""
        self.prompt, self.since = tuple(messages[:length]), list(messages[length:])
        self._kept, self.anew = 0, True


def _is_blank(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls and not message.text.strip()
