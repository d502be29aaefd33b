"""Chains of the raw file as the objects that are walked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hyperguild.config import schema
from hyperguild.config.agent_policy import agent_policy
from hyperguild.config.limits import budget_of
from hyperguild.config.models import ModelTable, limits_of, tuned
from hyperguild.config.report import Report
from hyperguild.config.schema_agent import Agent
from hyperguild.config.schema_limits import Limits
from hyperguild.config.wording import DocumentPath, did_you_mean, quoted, shown_path
from hyperguild.domain.chain import Chain, FeedbackPolicy, Model, RetryPolicy, Tier, VerifierSpec
from hyperguild.domain.speculation import SpeculationRule

DEFAULT = "default"


def resolve_chains(
    raw: schema.ChainsFile, table: ModelTable, verifiers: Mapping[str, VerifierSpec], report: Report
) -> dict[str, Chain]:
    """Return the chains that can be walked; for the others a problem is noted."""
    resolver = _ChainResolver(table, verifiers, report, raw.limits)
    resolved = {name: resolver.chain(name, chain) for name, chain in raw.chains.items()}
    return {name: chain for name, chain in resolved.items() if chain is not None}


def resolve_skills(raw: schema.ChainsFile, report: Report) -> dict[str, str]:
    """Return the chain of each skill that has an entry; a problem is noted where there is no such chain."""
    chains = report.names("chains")
    for name, skill in (raw.skills or {}).items():
        if skill.chain is not None and skill.chain not in chains:
            hint = did_you_mean(skill.chain, chains)
            report.add(("skills", name, "chain"), f"unknown chain {quoted(skill.chain)}{hint}")
    return {name: skill.chain for name, skill in (raw.skills or {}).items() if skill.chain is not None}


def likely_calls(raw: schema.ChainsFile) -> dict[str, tuple[SpeculationRule, ...]]:
    """Return the calls that skills are likely to make, of those for which some are named."""
    return {
        name: tuple(SpeculationRule(one.tool, one.arguments, one.when, one.match) for one in skill.speculate)
        for name, skill in (raw.skills or {}).items()
        if skill.speculate
    }


class _ChainResolver:
    def __init__(
        self,
        table: ModelTable,
        verifiers: Mapping[str, VerifierSpec],
        report: Report,
        limits: Limits,
    ) -> None:
        self._run_limits = budget_of(limits.run)
        in_usd = {
            "run": limits.run.cost_usd,
            "session": limits.session.cost_usd,
            "day": limits.day.cost_usd,
        }
        self._usd_scopes = [scope for scope, limit in in_usd.items() if limit is not None]
        self._table = table
        self._verifiers = verifiers
        self._report = report

    def chain(self, name: str, raw: schema.Chain) -> Chain | None:
        """Return the chain, or None where a problem was noted."""
        path: DocumentPath = ("chains", name)
        found = [
            self._tier(index, tier, raw.agent, (*path, "tiers", index))
            for index, tier in enumerate(raw.tiers)
        ]
        tiers = tuple(tier for tier in found if tier is not None)
        verifier_name = raw.verifier or DEFAULT
        known = self._report.names("verifiers")
        if raw.verifier is not None and raw.verifier not in known:
            hint = did_you_mean(raw.verifier, known)
            self._report.add((*path, "verifier"), f"unknown verifier {quoted(raw.verifier)}{hint}")
            return None
        verifier = self._verifiers.get(verifier_name)
        if verifier_name not in known:
            self._refuse_unverified(path, tiers)
        chain = Chain(
            name=name,
            tiers=tiers,
            verifier=verifier,
            feedback=FeedbackPolicy(answers=raw.feedback.answers, max_chars=raw.feedback.max_chars),
            budget=budget_of(raw.budget).within(self._run_limits),
            on_exhausted=raw.on_exhausted,
        )
        if raw.budget.cost_usd is not None:
            self._refuse_unpriced(path, chain, (*path, "budget", "cost_usd"))
        elif self._usd_scopes:
            self._refuse_unpriced(path, chain, ("limits", self._usd_scopes[0], "cost_usd"))
        return chain if len(tiers) == len(raw.tiers) else None

    def _tier(self, position: int, raw: schema.Tier, agent: Agent, path: DocumentPath) -> Tier | None:
        model = self._table.model(raw.model, (*path, "model"))
        if model is None:
            return None
        placed = dataclasses.replace(tuned(model, raw), label=raw.tier or model.label)
        return Tier(
            position=position,
            model=placed,
            verify=placed.label == "local" if raw.verify is None else raw.verify,
            when_cold=raw.when_cold,
            hedge_after_s=raw.hedge_after_s,
            speculate=raw.speculate,
            attempts=raw.attempts,
            limits=limits_of(raw),
            retry=RetryPolicy(retries=raw.retries, wait_max_s=raw.retry_wait_max_s),
            agent=agent_policy(agent, raw.agent),
        )

    def _refuse_unverified(self, path: DocumentPath, tiers: tuple[Tier, ...]) -> None:
        if self._report.is_damaged((*path, "verifier")):
            return
        for tier in tiers:
            if tier.verify:
                why = (
                    "is local, so its answers are verified"
                    if tier.model.label == "local"
                    else "is to be verified"
                )
                self._report.add(
                    (*path, "tiers", tier.position),
                    f'{why}, but there is no verifier: add verifiers.default, name one with "verifier:" on '
                    'the chain, or set "verify: false" on this tier',
                )

    def _refuse_unpriced(self, path: DocumentPath, chain: Chain, limit: DocumentPath) -> None:
        above = "a budget in USD" if limit[0] == "chains" else shown_path(limit)
        for tier in chain.tiers:
            if _has_unknown_cost(tier.model):
                self._report.add(
                    (*path, "tiers", tier.position),
                    f"has {above} above it, but {quoted(tier.model.name)} has no price: "
                    f"{_price_remedy(tier.model)}",
                )
        judge = chain.verifier.judge if chain.verifier else None
        if judge is None or not any(tier.verify for tier in chain.tiers):
            return
        for model in judge.models:
            if _has_unknown_cost(model):
                self._report.add(
                    limit,
                    f"cannot be held: the judge {quoted(model.name)} has no price: {_price_remedy(model)}",
                )


def _has_unknown_cost(model: Model) -> bool:
    return model.label != "local" and model.price is None


def _price_remedy(model: Model) -> str:
    return f"add models.{model.name}.price: {{input: …, output: …}} (USD per million tokens)"
