"""`run --dry-run`: what would be tried, without calling a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hyperguild.bootstrap import open_guild
from hyperguild.cli.output import dollars
from hyperguild.config.configuration import Configuration
from hyperguild.domain.messages import Message
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.orchestration.decide import Situation, obstacle, worst_cost_usd


async def preview(
    configuration: Configuration, request: RunRequest, env: Mapping[str, str]
) -> dict[str, Any]:
    """Return the chain as it would be walked now: each tier with warm state, swap, tokens and worst cost.

    `swap` says that asking this tier would load it in place of a model that is loaded now. Only `/running`
    is asked; no model is called.
    """
    chain = request.chain
    rows: list[dict[str, Any]] = []
    async with open_guild(configuration, env, Scrubber()) as guild:
        states = {tier.model.name: await guild.caller.warm_state(tier.model) for tier in chain.tiers}
        judges = (
            {}
            if chain.verifier is None or chain.verifier.judge is None
            else {model.name: await guild.caller.warm_state(model) for model in chain.verifier.judge.models}
        )
    ready = {name for name, state in {**states, **judges}.items() if state == "ready"}
    for tier in chain.tiers:
        messages = (
            Message("system", request.system_prompt),
            *request.history,
            Message("user", request.task.rendered(), request.task.images),
        )
        tokens = sum(message.estimated_tokens() for message in messages)
        state = states[tier.model.name]
        situation = Situation(
            chain, task_tokens=tokens, prompt_tokens=tokens, has_images=bool(request.task.images)
        )
        blocked = obstacle(situation, tier)
        rows.append(
            {
                "position": tier.position,
                "model": tier.model.name,
                "tier": tier.model.label,
                "endpoint": tier.model.endpoint.name,
                "warm_state": state,
                "swap": state == "cold" and bool(ready - {tier.model.name}),
                "verified": tier.verify,
                "input_tokens": tokens,
                "max_cost_usd": worst_cost_usd(chain, tier, tokens),
                "skip": None if blocked is None else {"cause": blocked.cause, "reason": blocked.reason},
            }
        )
    return {
        "skill": request.skill,
        "chain": chain.name,
        "verifier": None if chain.verifier is None else chain.verifier.name,
        "judges": [{"model": name, "warm_state": state} for name, state in judges.items()],
        "tiers": rows,
    }


def print_preview(plan: dict[str, Any]) -> None:
    """Print a preview as a few aligned lines on stdout."""
    click.echo(f"{plan['skill']} over chain {plan['chain']}; no model was called")
    header = ("", "model", "tier", "state", "judged", "tokens", "at most")
    lines = [header]
    for row in plan["tiers"]:
        state = row["warm_state"] or "–"
        lines.append(
            (
                str(row["position"] + 1),
                row["model"],
                row["tier"],
                f"{state}, swap" if row["swap"] else state,
                "yes" if row["verified"] else "no",
                f"~{row['input_tokens']}",
                dollars(row["max_cost_usd"]),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in plan["tiers"]:
        if row["skip"]:
            click.echo(f"{row['model']} would be skipped: {row['skip']['reason']}")
    for judge in plan["judges"]:
        click.echo(f"judge: {judge['model']} ({judge['warm_state'] or 'not probed'})")
