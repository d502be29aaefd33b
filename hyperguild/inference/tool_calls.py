"""Puts tool calls together from the pieces in which they come."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, NoReturn

from hyperguild.domain.messages import ToolCallDelta
from hyperguild.domain.text import encodable
from hyperguild.domain.tools import ToolCall


@dataclass(slots=True)
class _Open:
    """A call whose pieces are still coming."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class CallAssembly:
    """The calls of one answer: `add` the pieces in order, then take the `calls`."""

    def __init__(self) -> None:
        self._calls: list[_Open] = []
        self._by_index: dict[int, _Open] = {}

    def __len__(self) -> int:
        """Return how many calls have begun."""
        return len(self._calls)

    def add(self, delta: ToolCallDelta) -> None:
        """Take a piece. Another id under a known index begins another call: some servers count none of them.

        A name that is repeated in later pieces is the same name, not a longer one.
        """
        call = self._by_index.get(delta.index)
        if call is None or (delta.id and call.id and delta.id != call.id):
            call = self._by_index[delta.index] = _Open()
            self._calls.append(call)
        call.id = call.id or delta.id
        if not call.name.endswith(delta.name):
            call.name += delta.name
        call.arguments.append(delta.arguments)

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls in the order in which they began. Ids are as they came: they may be missing."""
        return tuple(
            ToolCall(
                encodable(call.id), encodable(call.name), *parse_arguments(encodable("".join(call.arguments)))
            )
            for call in self._calls
        )


def parse_arguments(raw: str) -> tuple[dict[str, Any] | None, str, str]:
    """Return a call's arguments, their text, and what the parser says where they are no JSON object.

    Nothing at all stands for `{}`.
    """
    if not raw.strip():
        return {}, raw, ""
    try:
        value = json.loads(raw, parse_constant=_refuse_number, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        return None, raw, f"the arguments are not valid JSON: {exc}"
    if not isinstance(value, dict):
        return None, raw, f"the arguments must be a JSON object, not {type(value).__name__}"
    if "\\ud" in raw.lower():  # JSON escapes can hold half a character, which no file and no log takes
        value = json.loads(encodable(json.dumps(value, ensure_ascii=False)))
    return value, raw, ""


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
