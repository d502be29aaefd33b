"""`agent:` of chains and tiers as the policy that an attempt works under."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hyperguild.config import schema
from hyperguild.config.report import Report
from hyperguild.config.schema_agent import Agent
from hyperguild.config.wording import DocumentPath
from hyperguild.domain.agent import AgentPolicy, PermissionRules

_PERMISSIONS = frozenset({"permission_mode", "rules"})


def agent_policy(chain: Agent, tier: Agent) -> AgentPolicy:
    """Return the policy of a tier: what it sets, else what its chain sets, key by key; the rest by default.

    Of the rules, each list (`allow`, `ask`, `deny`) is a key of its own.
    """
    given = {**_given(chain), **_given(tier)}
    rules = {**_given_rules(chain), **_given_rules(tier)}
    if "compact_at" in given:
        given["compact_at"] /= 100
    return AgentPolicy(**given, rules=PermissionRules(**rules))


def agent_policies(raw: schema.ChainsFile, report: Report) -> Iterator[tuple[DocumentPath, AgentPolicy]]:
    """Yield the policy of every tier, with the written path of the `agent:` that sets its permissions."""
    for name, chain in raw.chains.items():
        path: DocumentPath = ("chains", name)
        for index, tier in enumerate(chain.tiers):
            own = tier.agent.model_fields_set & _PERMISSIONS
            where = report.written((*path, "tiers", index, "agent")) if own else (*path, "agent")
            yield where, agent_policy(chain.agent, tier.agent)


def _given(agent: Agent) -> dict[str, Any]:
    return agent.model_dump(exclude_unset=True, exclude={"rules"})


def _given_rules(agent: Agent) -> dict[str, Any]:
    return agent.rules.model_dump(exclude_unset=True)
