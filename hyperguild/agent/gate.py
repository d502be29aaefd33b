"""Asks for permission for tools that touch no path: by rules and mode, then of somebody who is there."""

from __future__ import annotations

from dataclasses import replace

from hyperguild.agent.permissions import Ask, Deny, PermissionContext, decide_permission
from hyperguild.agent.rules import Rule
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.ports import Approver, Question


class Gate:
    """The permission of one attempt; it remembers what was allowed for good."""

    def __init__(self, context: PermissionContext, approver: Approver | None) -> None:
        self._context = replace(context, can_ask=approver is not None)
        self._approver = approver

    async def refusal(self, call: ToolCall, spec: ToolSpec) -> str | None:
        """Return why the call may not run, None where it may; asks where somebody has to say so."""
        decision = decide_permission(call, spec, self._context)
        if isinstance(decision, Deny):
            return decision.reason
        if not isinstance(decision, Ask) or self._approver is None:
            return None
        answer = await self._approver.ask(Question(call, spec, decision.reason))
        if answer == "always":
            rules = self._context.rules
            allow = (*rules.allow, Rule(call.name, call.name))
            self._context = replace(self._context, rules=replace(rules, allow=allow))
        return None if answer in {"yes", "always"} else "the user said no; do not try it again another way"
