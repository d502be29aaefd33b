"""Turns what a caller chose into the chain that is walked, and the terms on which tools work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import did_you_mean, quoted
from hyperguild.domain.agent import PermissionMode, WorkOrder
from hyperguild.domain.chain import Chain, Tier
from hyperguild.domain.text import nearest
from hyperguild.errors import UsageError
from hyperguild.skills.manifest import Skill


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """What the caller says about the chain."""

    chain_name: str | None = None
    model_name: str | None = None
    local: bool = False
    max_cost: float | None = None
    deadline: float | None = None
    from_model: str | None = None


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What the caller says about tools; paths as they were given."""

    workdir: Path | None = None
    allow_paths: tuple[Path, ...] = ()
    tools: tuple[str, ...] | None = None
    permission_mode: PermissionMode | None = None


def work_order(skill: Skill, chain: Chain, options: ToolOptions, here: Path) -> WorkOrder | None:
    """Return how tools work in this run; None where neither the options nor the chain ask for any.

    The work directory is `here`, unless another one is named.
    """
    if options == ToolOptions() and all(tier.agent.tools is None for tier in chain.tiers):
        return None
    return WorkOrder(
        folder=(options.workdir or here).resolve(),
        skill_tools=skill.allowed_tools,
        skill_patterns=tuple((one.tool, one.pattern) for one in skill.allowed_tool_patterns),
        skill_folder=skill.folder.resolve(),
        only_tools=options.tools,
        allow_paths=tuple(path.resolve() for path in options.allow_paths),
        permission_mode=options.permission_mode,
    )


def chosen_chain(configuration: Configuration, skill: str, options: ChainOptions) -> Chain:
    """Return the chain to walk, narrowed and bounded as the options say.

    Raises `ConfigError` for an unknown chain, `UsageError` where nothing is left to try.
    """
    chain = configuration.chain_for(skill, options.chain_name)
    tiers = chain.tiers
    if options.model_name is not None:
        tiers = _only(configuration, chain, options.model_name)
    if options.from_model is not None:
        tiers = _from(chain, tiers, options.from_model)
    if options.local:
        tiers = tuple(tier for tier in tiers if tier.model.label == "local")
        if not tiers:
            raise UsageError(
                f"--local leaves no tier of the chain {chain.name}",
                hint="`hyperguild chains show` lists them",
            )
    renumbered = tuple(dataclasses.replace(tier, position=index) for index, tier in enumerate(tiers))
    budget = chain.budget.tightened(cost_usd=options.max_cost, seconds=options.deadline)
    return dataclasses.replace(chain, tiers=renumbered, budget=budget)


def warning_of_guess(configuration: Configuration, name: str | None) -> str | None:
    """Return a warning where chains.yaml does not name the model, but one like it; None elsewhere.

    Raises `ConfigError` where no endpoint can be asked for that name.
    """
    tiers = [tier.model.name for chain in configuration.chains.values() for tier in chain.tiers]
    known = {*configuration.models, *tiers}
    if name is None or name in known or nearest(name, known) is None:
        return None
    endpoint = configuration.model(name).endpoint.name
    missing = f"{quoted(name)} is not in {configuration.path.name}"
    return f"{missing}{did_you_mean(name, known)} asking {endpoint} for it"


def _only(configuration: Configuration, chain: Chain, name: str) -> tuple[Tier, ...]:
    """Return the chain's own tier of that model, else one made for it, judged if it is local."""
    for tier in chain.tiers:
        if tier.model.name == name:
            return (tier,)
    model = configuration.model(name)
    return (Tier(0, model, verify=model.label == "local" and chain.verifier is not None),)


def _from(chain: Chain, tiers: tuple[Tier, ...], name: str) -> tuple[Tier, ...]:
    names = [tier.model.name for tier in tiers]
    if name not in names:
        near = nearest(name, names)
        hint = f'did you mean "{near}"?' if near else f"it has {', '.join(names)}"
        raise UsageError(f"the chain {chain.name} has no tier {name}", hint=hint)
    return tiers[names.index(name) :]
