"""What is guessed of a model's next calls, and when a call is the one that was guessed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolCall, ToolSpec

DEBUG: Final = "debug_"
"""Top-level arguments that begin so say how to tell, not what to do."""

SHOWN_CHARS: Final = 200

GuessSource = Literal["rule", "learned"]


@dataclass(frozen=True, slots=True)
class Guess:
    """A call that the model may make next. `source` says who thinks so."""

    tool: str
    arguments: dict[str, Any]
    source: GuessSource = "rule"

    def shown(self) -> str:
        """Return the call in one line, for people."""
        return one_line(f"{self.tool} {json.dumps(self.arguments, ensure_ascii=False)}", SHOWN_CHARS)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a guess can go by: the task, and the calls that were made in the attempt, in their order."""

    task: str
    calls: tuple[ToolCall, ...] = ()


class Predictor(Protocol):
    """Guesses calls. Cheap and pure: it is asked before each step, and never awaited."""

    def guesses(self, seen: Seen) -> Sequence[Guess]:
        """Return calls that are likely in the next step, the likeliest first; none where nothing is."""
        ...


def no_predictor(skill: str) -> Predictor | None:
    """Guess nothing of any skill."""
    del skill
    return None


def matches(guess: Guess, call: ToolCall) -> bool:
    """Tell whether a call is the one that was guessed: the same tool, the same arguments as JSON.

    1, 1.0 and true differ, and integers are compared to the last digit. `debug_*` is left out at the top.
    """
    if guess.tool != call.name or call.arguments is None:
        return False
    return same(_told(guess.arguments), _told(call.arguments))


def same(one: object, other: object) -> bool:
    """Tell whether two JSON values are equal, in depth; the order of keys does not matter."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def may_begin_early(spec: ToolSpec) -> bool:
    """Tell whether a tool may be started before it is asked for: it only reads, or waits at the barrier.

    Which tools of a server read, the user has said, not the server. One without a time limit of its own
    does more than to look: it delegates.
    """
    if spec.external or spec.exclusive or spec.untimed or spec.effect == "exec":
        return False
    return spec.effect == "read" or spec.awaits_barrier


def _told(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if not key.startswith(DEBUG)}
