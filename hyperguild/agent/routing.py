"""Which tools a step is offered: in two stages for small models, some only once they are asked for. Pure.

In two stages a model first chooses a category, then sees the schemas of that category. Of deferred tools it
sees names and purposes, and loads those that it wants.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hyperguild.domain.agent import TwoStageMode
from hyperguild.domain.chain import Model
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import ToolCall, ToolCategory, ToolChoice, ToolResult, ToolSpec

SELECT = "select_category"
LOAD = "load_tools"
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

LINE_CHARS = 80
LISTED_CHARS = 4_000
"""Of what the deferred tools are for: of one of them, and of all together, so that many leave room for the
work. They stand in the description of the argument: that of a tool may have 1,024 characters at OpenAI."""


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

    Deferred tools are offered from the step on that follows their loading; until then `load_tools` stands for
    them, in two stages for those of the chosen category. `category` is None in the first stage.
    """

    def __init__(self, tools: Sequence[ToolSpec], *, two_stage: bool) -> None:
        self._tools = tuple(tools)
        self._two_stage = two_stage
        self._corrected = False
        self._loaded: set[str] = set()
        self.category: ToolCategory | None = None
        self.categories = tuple(name for name in PURPOSES if any(tool.category == name for tool in tools))

    @property
    def at_first_stage(self) -> bool:
        """Whether a category has to be chosen now."""
        return self._two_stage and self.category is None

    def offer(self) -> tuple[tuple[ToolSpec, ...], ToolChoice]:
        """Return the tools of the next step, and whether one must be called."""
        if self.at_first_stage:
            return (self._selector(),), "required"
        offered = [tool for tool in self._tools_now() if not self._waits(tool)]
        waiting = self._waiting()
        if waiting:
            offered.append(_loader(waiting))
        if self._two_stage:
            offered.append(self._selector())
        return tuple(offered), "auto"

    def take(self, calls: Sequence[ToolCall], offered: Collection[str]) -> tuple[ToolResult, ...]:
        """Answer the calls of a step that are not for execution: of tools of our own, and of unloaded ones.

        What stands in one step with `select_category` is answered, too: it was chosen from another offer.
        """
        routed = next((call for call in calls if call.name == SELECT and SELECT in offered), None)
        if routed is not None:
            chosen = _answer(routed, *self.select(routed))
            beside = f"not executed: {SELECT} was called in the same step"
            return tuple(chosen if call is routed else _answer(call, beside, is_error=True) for call in calls)
        exclusive = {tool.name for tool in self._tools if tool.exclusive}
        if LOAD not in offered or (len(calls) > 1 and any(call.name in exclusive for call in calls)):
            return ()
        deferred = {tool.name for tool in self._waiting()}
        results = []
        for call in calls:
            if call.name == LOAD:
                results.append(_answer(call, *self.load(call)))
            elif call.name in self._loaded & deferred:
                results.append(
                    _answer(call, f"{call.name} can be called from the next step on", is_error=True)
                )
            elif call.name in deferred:
                why = f"{call.name} is not loaded: load it first with {LOAD}"
                results.append(_answer(call, why, is_error=True))
        return tuple(results)

    def load(self, call: ToolCall) -> tuple[str, bool]:
        """Take a call of `load_tools`; return what the model is told, and whether that is an error.

        The known names of a call are loaded, whatever the others are.
        """
        if call.arguments is None:
            return call.fault, True
        given = call.arguments.get("names")
        names = [str(name) for name in given] if isinstance(given, list) else []
        known = {tool.name for tool in self._tools_now() if tool.deferred}
        unknown = [one_line(name, LINE_CHARS) for name in names if name not in known]
        self._loaded |= known.intersection(names)
        now = f"tools now: {', '.join(tool.name for tool in self.offer()[0])}"
        if names and not unknown:
            return now, False
        why = (
            f"nothing to load by the name {', '.join(unknown)}" if names else "names must be a list of names"
        )
        waiting = ", ".join(tool.name for tool in self._waiting()) or "none"
        return f"{why}; to be loaded: {waiting}; {now}", True

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
        return f"tools now: {', '.join(tool.name for tool in self.offer()[0])}", False

    def recall(self, calls: Iterable[ToolCall]) -> None:
        """Take up the state that these calls led to, of an attempt that is continued."""
        for call in calls:
            if call.name == SELECT and self._two_stage:
                self.select(call)
            elif call.name == LOAD:
                self.load(call)

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

    def _tools_now(self) -> tuple[ToolSpec, ...]:
        """Return the tools of the stage, loaded or not."""
        if not self._two_stage:
            return self._tools
        return tuple(tool for tool in self._tools if tool.category == self.category)

    def _waits(self, tool: ToolSpec) -> bool:
        return tool.deferred and tool.name not in self._loaded

    def _waiting(self) -> tuple[ToolSpec, ...]:
        return tuple(tool for tool in self._tools_now() if self._waits(tool))

    def _selector(self) -> ToolSpec:
        lines = "; ".join(f"{name}: {PURPOSES[name]}" for name in self.categories)
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": {"category": {"type": "string", "enum": list(self.categories)}},
            "required": ["category"],
        }
        return ToolSpec(SELECT, f"Choose which tools to see. {lines}.", parameters, "read", "meta")


def _answer(call: ToolCall, text: str, is_error: bool) -> ToolResult:
    return ToolResult(call.id, call.name, text, is_error)


def _loader(waiting: Sequence[ToolSpec]) -> ToolSpec:
    names = [tool.name for tool in waiting]
    room = min(LISTED_CHARS // len(waiting), LINE_CHARS)
    lines = (one_line(f"{tool.name}: {_purpose(tool)}", max(room, len(tool.name))) for tool in waiting)
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {
            "names": {
                "type": "array",
                "items": {"type": "string", "enum": names},
                "description": "\n".join(lines),
            }
        },
        "required": ["names"],
    }
    description = "Load tools that you need, by name; you can call them from your next turn on."
    return ToolSpec(LOAD, description, parameters, "read", "meta")


def _purpose(tool: ToolSpec) -> str:
    """Return the first sentence of a tool's description."""
    return re.split(r"(?<=[.!?])\s|\n", tool.description.strip(), maxsplit=1)[0]
