"""`run --dry-run`: what would be tried, without calling a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from hyperguild.adapters.embedded.spec import spec_of
from hyperguild.bootstrap import open_guild
from hyperguild.cli.page import Page
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import Chain, Model, Tier
from hyperguild.domain.limits import Standing
from hyperguild.domain.records import WarmState
from hyperguild.domain.redaction import RedactionPolicy
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.telling import dollars
from hyperguild.domain.usage import Price
from hyperguild.inference.call import ModelCaller
from hyperguild.orchestration.decide import Situation, obstacle, worst_cost_usd
from hyperguild.orchestration.prompts import prompt, tokens_of

FREE = Price(input=0.0, output=0.0)
HEADER = ("", "model", "tier", "state", "judged", "tokens", "at most")


async def preview(
    configuration: Configuration,
    request: RunRequest,
    env: Mapping[str, str],
    *,
    standings: tuple[Standing, ...],
    breakers: Mapping[str, str],
) -> dict[str, Any]:
    """Return the chain as it would be walked now: tiers and judges with warm state, swap and worst cost.

    `swap` says that asking this model would load it in place of a model of this chain that is loaded now.
    `standings` are the limits that it would meet, `breakers` says, by model, why some are not asked for a
    while. Only what is loaded is asked; no model is called.
    """
    chain = request.chain
    judge = chain.verifier.judge if chain.verifier is not None else None
    judges = judge.models if judge is not None else ()
    async with open_guild(configuration, env, Scrubber()) as guild:
        look = await _look(
            guild.caller, configuration.redaction, [tier.model for tier in chain.tiers], judges
        )
    tokens = tokens_of(prompt(request, request.task.rendered()))
    situation = Situation(
        chain,
        task_tokens=tokens,
        prompt_tokens=tokens,
        has_images=bool(request.task.images),
        breakers=breakers,
        standings=standings,
    )
    return {
        "skill": request.skill,
        "chain": chain.name,
        "verifier": None if chain.verifier is None else chain.verifier.name,
        "judges": [
            {
                "model": model.name,
                "warm_state": look.states[model.name],
                "redacted": look.redaction.applies_to(model),
                "swap": look.swaps(model),
                "max_cost_usd": _verdict_cost_usd(chain, model, tokens),
            }
            for model in judges
        ],
        "tiers": [_tier_row(tier, situation, look) for tier in chain.tiers],
        "limits": [
            {"scope": one.scope, "unit": one.unit, "limit": one.limit, "left": one.left, "message": one.text}
            for one in standings
        ],
    }


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """How the models of a chain stand now: warm states by name, and which are ready."""

    states: Mapping[str, WarmState | None]
    ready: Sequence[Model]
    redaction: RedactionPolicy

    def swaps(self, model: Model) -> bool:
        """Tell whether asking the model would load it in the place of another."""
        return self.states[model.name] == "cold" and _evicts(model, self.ready)


async def _look(caller: ModelCaller, redaction: RedactionPolicy, *models: Sequence[Model]) -> _Look:
    every = [model for some in models for model in some]
    states = {model.name: await caller.warm_state(model) for model in every}
    return _Look(states, [model for model in every if states[model.name] == "ready"], redaction)


def _tier_row(tier: Tier, situation: Situation, look: _Look) -> dict[str, Any]:
    tokens, blocked = situation.prompt_tokens, obstacle(situation, tier)
    return {
        "position": tier.position,
        "model": tier.model.name,
        "tier": tier.model.label,
        "endpoint": tier.model.endpoint.name,
        "warm_state": look.states[tier.model.name],
        "swap": look.swaps(tier.model),
        "verified": tier.verify,
        "redacted": look.redaction.applies_to(tier.model),
        "input_tokens": tokens,
        "max_cost_usd": worst_cost_usd(situation.chain, tier, tokens),
        "skip": None if blocked is None else {"cause": blocked.cause, "reason": blocked.reason},
    }


def _evicts(model: Model, ready: Sequence[Model]) -> bool:
    """Tell whether the endpoint has no place left for the model; a llama-swap is taken to have one place."""
    endpoint = model.endpoint
    there = [one for one in ready if one.endpoint.name == endpoint.name]
    if endpoint.kind == "embedded":
        return len({spec_of(one) for one in there}) >= endpoint.engine.max_loaded
    return bool(there)


def print_preview(plan: dict[str, Any], page: Page) -> None:
    """Print a preview on stdout: an aligned row for each tier and judge; a few short ones where it is narrow.

    What a tier may cost includes its verdict; the judge's row has the part of one verdict in it.
    """
    page.add((f"{plan['skill']} over chain {plan['chain']}; no model was called", ""))
    rows = [*(_tier_cells(row) for row in plan["tiers"]), *(_judge_cells(row) for row in plan["judges"])]
    if page.narrow:
        for number, model, *rest in rows:
            page.add((f"{number} {model}".lstrip(), "bold"), hang=2)
            notes = [f"{name} {cell}" for name, cell in zip(HEADER[2:], rest, strict=True) if cell]
            page.flow([[(note, "")] for note in notes], " · ", indent=2)
    else:
        table = [HEADER, *rows]
        widths = [max(cell_len(line[column]) for line in table) for column in range(len(HEADER))]
        for line in table:
            cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
            page.row(("  ".join(cells).rstrip(), ""))
    redacted = [row["model"] for row in (*plan["tiers"], *plan["judges"]) if row["redacted"]]
    if redacted:
        page.add((f"without secrets: {', '.join(dict.fromkeys(redacted))}", ""), hang=2)
    for row in plan["tiers"]:
        if row["skip"]:
            page.add((f"{row['model']} would be skipped: {row['skip']['reason']}", ""), hang=2)
    for limit in plan["limits"]:
        page.add((limit["message"], ""), hang=2)
    page.print()


def _tier_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["position"] + 1),
        row["model"],
        row["tier"],
        _state(row),
        "yes" if row["verified"] else "no",
        f"~{row['input_tokens']}",
        dollars(row["max_cost_usd"]),
    )


def _judge_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return ("", row["model"], "judge", _state(row), "", "", dollars(row["max_cost_usd"]))


def _state(row: dict[str, Any]) -> str:
    state = row["warm_state"] or "–"
    return f"{state}, swap" if row["swap"] else state


def _verdict_cost_usd(chain: Chain, model: Model, tokens: int) -> float | None:
    """Return the most that one verdict of that judge may cost, over all tiers; None: nobody knows."""
    if chain.verifier is None or chain.verifier.judge is None:
        return 0.0
    judge = dataclasses.replace(chain.verifier.judge, models=(model,))
    alone = dataclasses.replace(chain, verifier=dataclasses.replace(chain.verifier, judge=judge))
    costs = [
        # The cost of a free model's answer with its verdict is that of the verdict.
        worst_cost_usd(
            alone, dataclasses.replace(tier, model=dataclasses.replace(tier.model, price=FREE)), tokens
        )
        for tier in chain.tiers
        if tier.verify
    ]
    known = [cost for cost in costs if cost is not None]
    return max(known, default=0.0) if len(known) == len(costs) else None
