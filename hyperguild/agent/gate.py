"""Asks for permission, call by call: by rules and mode, then of somebody who is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from hyperguild.agent.permissions import Ask, Deny, PermissionContext, decide_permission
from hyperguild.agent.rules import RuleFault, parse_rule
from hyperguild.domain.tools import ToolCall, ToolError, ToolSpec
from hyperguild.ports import Approver, Question


class Sight(Protocol):
    """Sees what a call would touch and change, before it runs."""

    async def paths(self, call: ToolCall) -> tuple[str, ...]:
        """Return the paths that it touches, as `PermissionContext` has them.

        Raises `ToolError` where it must not touch them.
        """
        ...

    async def preview(self, call: ToolCall) -> str:
        """Return what it would change, as a diff; empty where that cannot be told."""
        ...


class NoPaths:
    """The `Sight` of tools that touch none."""

    async def paths(self, call: ToolCall) -> tuple[str, ...]:
        """Return none."""
        del call
        return ()

    async def preview(self, call: ToolCall) -> str:
        """Return nothing."""
        del call
        return ""


class Gate:
    """The permission of one attempt; it remembers what was allowed for good."""

    def __init__(
        self, context: PermissionContext, approver: Approver | None, sight: Sight | None = None
    ) -> None:
        self._context = replace(context, can_ask=approver is not None)
        self._approver = approver
        self._sight = sight or NoPaths()

    async def refusal(self, call: ToolCall, spec: ToolSpec) -> str | None:
        """Return why the call may not run, None where it may; asks where somebody has to say so."""
        try:
            paths = await self._sight.paths(call)
        except ToolError as error:
            return str(error)
        can_ask = self._context.can_ask or spec.external  # there who executes the call is the one to ask
        decision = decide_permission(call, spec, replace(self._context, paths=paths, can_ask=can_ask))
        if isinstance(decision, Deny):
            return decision.reason
        if not isinstance(decision, Ask) or spec.external or self._approver is None:
            return None
        shown = await self._sight.preview(call)
        answer = await self._approver.ask(Question(call, spec, decision.reason, shown))
        if answer == "always":
            self._allow_from_now_on(call)
        return None if answer in {"yes", "always"} else "the user said no; do not try it again another way"

    async def refusal_unasked(self, call: ToolCall, spec: ToolSpec) -> str | None:
        """Return why a call that nobody has made yet may not be tried: what would be asked about may not."""
        try:
            paths = await self._sight.paths(call)
        except ToolError as error:
            return str(error)
        decision = decide_permission(call, spec, replace(self._context, paths=paths, can_ask=False))
        return decision.reason if isinstance(decision, Deny) else None

    def _allow_from_now_on(self, call: ToolCall) -> None:
        """Turn a yes for good into a rule: for a command those very words, for another tool the tool."""
        command = (call.arguments or {}).get("command")
        text = f"{call.name}({command})" if isinstance(command, str) else call.name
        try:
            rule = parse_rule(text)
        except RuleFault:
            return  # it cannot be told exactly what was allowed: it will be asked again
        rules = self._context.rules
        self._context = replace(self._context, rules=replace(rules, allow=(*rules.allow, rule)))
