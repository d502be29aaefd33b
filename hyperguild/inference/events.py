"""What can be seen of a model call while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hyperguild.domain.messages import ReasoningDelta, TextDelta, ToolCallDelta, UsageReport


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded, for `waited_ms` so far; `loaded` is true once, at the end."""

    waited_ms: int
    loaded: bool


@dataclass(frozen=True, slots=True)
class Spoke:
    """The first text or reasoning came, `after_ms` from when the model was ready and had the request."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Deltas so far are void: the call is made again from the start, because of `reason`.

    `began` is false where the server had no room for the request, and did nothing for it.
    """

    reason: str
    began: bool = True


CallEvent = TextDelta | ReasoningDelta | ToolCallDelta | UsageReport | Loading | Spoke | Reset
CallObserver = Callable[[CallEvent], None]
