"""Where an attempt left off that is continued."""

from __future__ import annotations

from dataclasses import dataclass, field

from hyperguild.domain.messages import Message
from hyperguild.domain.usage import Usage

CONTINUE = "Continue exactly where you left off. Do not repeat anything, and do not comment on it."
"""What a model is told whose answer was cut off."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is known of an attempt that goes on.

    `messages` is the whole transcript, repaired, the prompt included; `prompt_length` says how many of them
    are the prompt. `used_steps` counts the model calls made. `usage` is what they used, of an attempt that
    goes on under its id; else empty, for it is on record. `answered`: the last message is a whole answer, of
    which only the verdict is missing. `paused`: the caller of the run has just brought the last results; the
    hooks have not seen that step.
    """

    messages: tuple[Message, ...]
    prompt_length: int
    used_steps: int
    usage: Usage = field(default_factory=Usage)
    answered: bool = False
    paused: bool = False

    @property
    def sendable(self) -> tuple[Message, ...]:
        """The transcript without an end that says nothing: a step that was interrupted as it began."""
        messages = self.messages
        while len(messages) > self.prompt_length and _is_blank(messages[-1]):
            messages = messages[:-1]
        return messages

    @property
    def parts_of_answer(self) -> tuple[str, ...]:
        """The pieces of the answer that is being given; more than one where it was cut off and continued."""
        said = list(self.sendable[self.prompt_length :])
        if said and said[-1] == Message("user", CONTINUE):
            del said[-1]
        parts: list[str] = []
        while said and _is_plain(said[-1]):
            parts.insert(0, said.pop().text)
            if not said or said.pop() != Message("user", CONTINUE):
                break
        return tuple(parts)


def _is_plain(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls and bool(message.text)


def _is_blank(message: Message) -> bool:
    return message == Message("assistant", "", reasoning=message.reasoning)
