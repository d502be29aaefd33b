"""What a model is about to say, before any API gives it a shape."""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hyperguild.simulation.rules import Prompt
from hyperguild.simulation.script import Answering, ErrorReply, Fault, Rule, ToolCall

PIECE = re.compile(r"\s*\S{1,12}\s?")
"""What one token looks like in the stream: a word with the blank after it, long words in parts."""

HUGE_LINE_CHARS = 4 * 1024 * 1024
"""The length of the one piece of text that the fault `huge_line` sends."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: its pieces in order, its end and its counts.

    `pieces` never ends for the fault `endless`. `content` are Anthropic's blocks in the place of pieces and
    calls. `finish_reason` is in OpenAI's words. `input_tokens` includes
    the cached and the cache-written ones. `pace` is tokens a second, 0 for all at once; times are simulated
    seconds.
    """

    reasoning: tuple[str, ...]
    pieces: Iterable[str]
    tool_calls: tuple[ToolCall, ...]
    content: tuple[dict[str, Any], ...]
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    wait_s: float
    pace: float
    fault: Fault | None
    error: ErrorReply | None

    @property
    def spoken(self) -> int:
        """How many pieces a complete answer sends; an endless one has no such number and says 0."""
        return len(self.reasoning) + (len(self.pieces) if isinstance(self.pieces, tuple) else 0)


@lru_cache(maxsize=512)
def pieces_of(text: str) -> tuple[str, ...]:
    """Cut a text into the pieces of a stream; joined they are the text again."""
    found = tuple(PIECE.findall(text))
    rest = text[sum(map(len, found)) :]
    return (*found, rest) if rest else found


def compose(rule: Rule, model: Answering, prompt: Prompt, max_tokens: int | None) -> Reply:
    """The reply a rule makes to a prompt, cut off where `max_tokens` or the model's window ends it."""
    said = ("x" * HUGE_LINE_CHARS,) if rule.fault == "huge_line" else pieces_of(_text(rule) * rule.repeat)
    reasoning, pieces = _cut(pieces_of(rule.reasoning or ""), said, _room(model, prompt, max_tokens))
    natural = "tool_calls" if rule.tool_calls else "stop"
    spoken = (
        len(reasoning) + len(pieces) + sum(len(arguments_text(call)) // 4 + 1 for call in rule.tool_calls)
    )
    endless = itertools.cycle(pieces or ("and ", "so ", "on ")) if rule.fault == "endless" else None
    return Reply(
        reasoning=reasoning,
        pieces=endless or pieces,
        tool_calls=rule.tool_calls,
        content=rule.content,
        finish_reason=rule.finish_reason or (natural if len(pieces) == len(said) else "length"),
        input_tokens=prompt.tokens if rule.usage.input_tokens is None else rule.usage.input_tokens,
        output_tokens=spoken if rule.usage.output_tokens is None else rule.usage.output_tokens,
        cached_input_tokens=rule.usage.cached_input_tokens,
        cache_write_tokens=rule.usage.cache_write_tokens,
        wait_s=rule.delay_s + (model.first_token_s if rule.first_token_s is None else rule.first_token_s),
        pace=model.tokens_per_s if rule.tokens_per_s is None else rule.tokens_per_s,
        fault=rule.fault,
        error=rule.error,
    )


def arguments_text(call: ToolCall) -> str:
    """The arguments of a tool call as the text a model writes."""
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def argument_parts(call: ToolCall, size: int = 16) -> list[str]:
    """The arguments of a tool call, cut as a stream cuts them."""
    text = arguments_text(call)
    return [text[at : at + size] for at in range(0, len(text), size)]


def _text(rule: Rule) -> str:
    if rule.judge is not None:
        return json.dumps(rule.judge.model_dump())
    if rule.text is None and rule.fault is not None:
        return "This answer is not going to end well."
    return rule.text or ""


def _room(model: Answering, prompt: Prompt, max_tokens: int | None) -> int | None:
    limits = [max_tokens, None if model.context is None else max(0, model.context - prompt.tokens)]
    return min((limit for limit in limits if limit is not None), default=None)


def _cut(
    reasoning: tuple[str, ...], pieces: tuple[str, ...], room: int | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if room is None:
        return reasoning, pieces
    return reasoning[:room], pieces[: max(0, room - len(reasoning))]
