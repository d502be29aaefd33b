"""Two-stage tools: a small model first chooses a category, then sees the schemas of that category. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hyperguild.domain.agent import TwoStageMode
from hyperguild.domain.chain import Model
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolCall, ToolCategory, ToolChoice, ToolSpec

SELECT = "select_category"
SMALL_WINDOW = 16_384
"""Windows up to this many tokens are small; an unknown one counts as small."""

PURPOSES: Mapping[ToolCategory, str] = {
    "read": "read files and list folders",
    "search": "find files and text",
    "write": "create and change files",
    "exec": "run shell commands",
    "meta": "everything else",
}
"""The categories in the order in which they are offered, and what they are good for."""


def is_two_stage(mode: TwoStageMode, model: Model, tools: Sequence[ToolSpec]) -> bool:
    """Return whether the model should choose a category first.

    With tools of one category there is nothing to choose, whatever the mode.
    """
    if mode == "never" or len({tool.category for tool in tools}) < 2:
        return False
    small = model.context_window is None or model.context_window <= SMALL_WINDOW
    return mode == "always" or (model.label == "local" and small)


class ToolRouting:
    """What one attempt is offered, step by step; `two_stage` off: all tools in every step.

    `category` is the chosen one, None in the first stage.
    """

    def __init__(self, tools: Sequence[ToolSpec], *, two_stage: bool) -> None:
        self._tools = tuple(tools)
        self._two_stage = two_stage
        self._corrected = False
        self.category: ToolCategory | None = None
        self.categories = tuple(name for name in PURPOSES if any(tool.category == name for tool in tools))

    @property
    def at_first_stage(self) -> bool:
        """Whether a category has to be chosen now."""
        return self._two_stage and self.category is None

    def offer(self) -> tuple[tuple[ToolSpec, ...], ToolChoice]:
        """Return the tools of the next step, and whether one must be called."""
        if not self._two_stage:
            return self._tools, "auto"
        if self.category is None:
            return (self._selector(),), "required"
        chosen = tuple(tool for tool in self._tools if tool.category == self.category)
        return (*chosen, self._selector()), "auto"

    def select(self, call: ToolCall) -> tuple[str, bool]:
        """Take a call of `select_category`; return what the model is told, and whether that is an error.

        An unknown category leads back to the first stage.
        """
        wanted = (call.arguments or {}).get("category")
        chosen = next((name for name in self.categories if name == wanted), None)
        self.category = chosen
        if chosen is None:
            return (
                f"no category {one_line(repr(wanted), 80)}; choose one of: {', '.join(self.categories)}",
                True,
            )
        names = [tool.name for tool in self._tools if tool.category == chosen]
        return f"tools now: {', '.join(names)}, {SELECT}", False

    def correct_prose(self) -> str | None:
        """Return what a model is told that answered in prose at the first stage.

        It is told once; None where the prose is to be taken as the answer.
        """
        if not self.at_first_stage or self._corrected:
            return None
        self._corrected = True
        return (
            f"To use tools, call {SELECT} with one of: {', '.join(self.categories)}. "
            "If you need none, give your whole answer again."
        )

    def _selector(self) -> ToolSpec:
        lines = "; ".join(f"{name}: {PURPOSES[name]}" for name in self.categories)
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": {"category": {"type": "string", "enum": list(self.categories)}},
            "required": ["category"],
        }
        return ToolSpec(SELECT, f"Choose which tools to see. {lines}.", parameters, "read", "meta")
