"""How the settings of the agent loop are shown: as JSON whole, on a page where they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from hyperguild.domain.agent import AgentPolicy


def agent_object(policy: AgentPolicy) -> dict[str, Any]:
    """Return a policy as JSON, under the names of chains.yaml and in its units: `compact_at` in percent."""
    return {
        **dataclasses.asdict(policy),
        "tools": None if policy.tools is None else list(policy.tools),
        "rules": {kind: list(rules) for kind, rules in dataclasses.asdict(policy.rules).items()},
        "delegate": list(policy.delegate),
        "compact_at": round(policy.compact_at * 100, 6),
    }


def agent_facts(agent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield labels and texts of what a policy, as of `agent_object`, has other than by default."""
    usual = agent_object(AgentPolicy())
    changed = [key for key in usual if key != "rules" and agent[key] != usual[key]]
    if changed:
        yield "agent", "; ".join(_words(key, agent[key]) for key in changed)
    for kind, rules in agent["rules"].items():
        if rules:
            yield kind, ", ".join(rules)


def _words(key: str, value: Any) -> str:
    match key:
        case "max_steps":
            return "at most 1 step" if value == 1 else f"at most {value} steps"
        case "tools":
            return f"tools {', '.join(value)}" if value else "no tools"
        case "permission_mode":
            return f"permission mode {value}"
        case "two_stage":
            return f"tools in two stages: {value}"
        case "compact_at":
            return "no summaries" if value == 100 else f"summaries from {value:g} % of the window on"
        case "workspace":
            return "a git worktree for each attempt" if value == "worktree" else "works in the folder itself"
        case "delegate":
            return f"may delegate to {', '.join(value)}" if value else "may not delegate"
        case _:
            return f"{value:g} s for a call of a tool"
