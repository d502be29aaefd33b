"""Where an attempt left off that is continued."""

from __future__ import annotations

from dataclasses import dataclass, field

from hyperguild.domain.messages import Message
from hyperguild.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is known of an attempt that goes on.

    `messages` is the whole transcript, repaired, the prompt included; `prompt_length` says how many of them
    are the prompt. `used_steps` counts the model calls made. `usage` is what they used, of an attempt that
    goes on under its id; else empty, for it is on record. `answered`: the last message is a whole answer, of
    which only the verdict is missing.
    """

    messages: tuple[Message, ...]
    prompt_length: int
    used_steps: int
    usage: Usage = field(default_factory=Usage)
    answered: bool = False
