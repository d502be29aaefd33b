"""chains.yaml, read: what the rest of the program gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperguild.config.chains import DEFAULT
from hyperguild.config.inference import InferenceError, infer_model
from hyperguild.config.powers import Power
from hyperguild.config.wording import did_you_mean, listed, quoted
from hyperguild.domain.chain import Chain, Endpoint, LogPolicy, Model, VerifierSpec
from hyperguild.domain.hooks import CommandHook, HookKind
from hyperguild.domain.limits import Limits
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.redaction import RedactionPolicy
from hyperguild.domain.speculation import SpeculationRule
from hyperguild.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Configuration:
    """Every name resolved. `models` holds the declared ones and those that chains and judges name.

    `skill_chains`: the chain of each skill that names one. `likely_calls`: those of each skill that are
    started early. `hooks`: those of each kind that has some.
    `powers`: what of the file needs trust.
    """

    path: Path
    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, Model]
    verifiers: Mapping[str, VerifierSpec]
    chains: Mapping[str, Chain]
    skill_chains: Mapping[str, str]
    likely_calls: Mapping[str, tuple[SpeculationRule, ...]]
    log: LogPolicy
    mcp_servers: Mapping[str, McpServer]
    hooks: Mapping[HookKind, tuple[CommandHook, ...]]
    limits: Limits
    powers: tuple[Power, ...]
    redaction: RedactionPolicy

    def chain_for(self, skill: str, name: str | None = None) -> Chain:
        """Return the named chain; else the skill's, else `default`, else the only one.

        Raises `ConfigError` where there is no such chain, or nothing says which of several.
        """
        wanted = name or self.skill_chains.get(skill)
        if wanted is None:
            if DEFAULT in self.chains:
                return self.chains[DEFAULT]
            if len(self.chains) == 1:
                return next(iter(self.chains.values()))
            known = listed(quoted(chain) for chain in sorted(self.chains))
            raise ConfigError(
                f"nothing says which chain the skill {quoted(skill)} uses",
                hint=f"name one with --chain, or under skills: or as default: {known}",
            )
        if wanted in self.chains:
            return self.chains[wanted]
        near = did_you_mean(wanted, self.chains)
        raise ConfigError(
            f"there is no chain {quoted(wanted)}{near}",
            hint=f"{self.path.name} has {listed(quoted(chain) for chain in sorted(self.chains))}",
        )

    def model(self, name: str) -> Model:
        """Return the model of that name, inferred if it is not declared. Raises `ConfigError`."""
        if name in self.models:
            return self.models[name]
        try:
            return infer_model(name, self.endpoints)
        except InferenceError as exc:
            raise ConfigError(f"{exc}{did_you_mean(name, self.models)}") from exc
