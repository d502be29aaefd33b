"""What `hyperguild doctor` has to say: the rules that make findings of what was seen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hyperguild.adapters.embedded.spec import ServerSpec, spec_of
from hyperguild.adapters.probes import EndpointInventory, ListedModel
from hyperguild.cli.init_file import group_snippet
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import did_you_mean, names_a_secret
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.text import nearest

MIN_SECRET_CHARS = 6
"""Shorter values are found in addresses by chance."""

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: where it belongs, how bad it is, and what to do about it.

    `remedy` is None where nothing needs to be done; it may have several lines.
    """

    area: str
    level: Level
    message: str
    remedy: str | None = None


@dataclass(slots=True)
class Use:
    """A model that a chain or verifier names, and for what: `tier of code`, `judge of default`."""

    model: Model
    tier_of: list[str] = field(default_factory=list)
    judge_of: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The uses in words."""
        tiers = f"tier of {', '.join(dict.fromkeys(self.tier_of))}" if self.tier_of else ""
        judges = f"judge of {', '.join(dict.fromkeys(self.judge_of))}" if self.judge_of else ""
        return "; ".join(part for part in (tiers, judges) if part)


@dataclass(frozen=True, slots=True)
class Known:
    """A name as its server understands it: the model that it stands for, and whether it is an alias of it."""

    model: ListedModel
    alias: bool


def uses_of(configuration: Configuration) -> dict[str, list[Use]]:
    """Return what is used of each endpoint, by the endpoint's name, in the order of the file."""
    uses: dict[str, Use] = {}
    for chain in configuration.chains.values():
        for tier in chain.tiers:
            uses.setdefault(tier.model.name, Use(tier.model)).tier_of.append(chain.name)
    for verifier in configuration.verifiers.values():
        for model in verifier.judge.models if verifier.judge else ():
            uses.setdefault(model.name, Use(model)).judge_of.append(verifier.name)
    by_endpoint: dict[str, list[Use]] = {}
    for use in uses.values():
        by_endpoint.setdefault(use.model.endpoint.name, []).append(use)
    return by_endpoint


def look_up(inventory: EndpointInventory, name: str) -> Known | None:
    """Return what the server takes the name for, None where it lists nothing of that name."""
    rows = {model.id: model for model in inventory.models}
    row = rows.get(name)
    if row is not None and row.kind == "alias":
        return Known(rows.get(row.targets[0], row) if row.targets else row, alias=True)
    if row is not None:
        return Known(row, alias=False)
    for model in inventory.models:
        if name in model.aliases:
            return Known(model, alias=True)
    for model in inventory.models:
        if model.kind == "peer" and model.id.partition("/")[2] == name:
            return Known(model, alias=False)
    return None


def names_of(inventory: EndpointInventory) -> list[str]:
    """Return every name that the server takes, in its order."""
    return [name for model in inventory.models for name in (model.id, *model.aliases)]


def model_findings(area: str, use: Use, inventory: EndpointInventory) -> Iterator[Finding]:
    """Yield what there is to say of a model that is used, given what its server has."""
    model = use.model
    known = look_up(inventory, model.upstream)
    if known is None:
        yield _not_listed(area, use, inventory)
    else:
        yield Finding(area, "ok", f"{model.name}: {_state_words(known.model)} ({use.words})")
        if known.alias:
            yield Finding(
                area,
                "note",
                f"{model.name}: {model.upstream} is an alias there, of {known.model.id}",
                f"`upstream: {known.model.id}` keeps meaning this model when the alias moves",
            )


def price_finding(area: str, use: Use) -> Finding | None:
    """Return a note where what the model costs cannot be told."""
    model = use.model
    if model.label == "local" or model.price is not None or model.endpoint.kind == "command":
        return None
    return Finding(
        area,
        "note",
        f"{model.name}: has no price, so what its answers cost is unknown",
        f"add `price: {{input: …, output: …}}` (USD per million tokens) to models.{model.name}",
    )


def unused_endpoint(finding: Finding) -> Finding:
    """Return the finding as it counts for an endpoint that no chain uses: no error."""
    if finding.level != "error":
        return finding
    return Finding(finding.area, "warning", f"{finding.message}; no chain uses it", finding.remedy)


def without_secrets(finding: Finding, address: str, env: Mapping[str, str]) -> Finding:
    """Return the finding with `${NAME}` for what the address holds of a variable that has a secret's name."""
    message, remedy = finding.message, finding.remedy
    for name, value in env.items():
        if names_a_secret(name) and len(value) >= MIN_SECRET_CHARS and value in address:
            message = message.replace(value, f"${{{name}}}")
            remedy = None if remedy is None else remedy.replace(value, f"${{{name}}}")
    return Finding(finding.area, finding.level, message, remedy)


def can_do_without(configuration: Configuration, endpoint: Endpoint, env: Mapping[str, str]) -> bool:
    """Tell whether every chain still has a tier, and every verdict a judge, when a cloud's key is missing.

    False where the key is not missing, and where nothing uses the endpoint or something local does.
    """
    if not _lacks_key(endpoint, env):
        return False
    there = [tier for chain in configuration.chains.values() for tier in chain.tiers]
    if not any(tier.model.endpoint.name == endpoint.name for tier in there):
        return False
    judges = [verifier.judge for verifier in configuration.verifiers.values() if verifier.judge is not None]
    needed = [tuple(tier.model for tier in chain.tiers) for chain in configuration.chains.values()]
    needed += [judge.models for judge in judges]
    for models in needed:
        ours = [model for model in models if model.endpoint.name == endpoint.name]
        if any(model.label == "local" for model in ours):
            return False
        if ours and all(_lacks_key(model.endpoint, env) for model in models):
            return False
    return True


def _lacks_key(endpoint: Endpoint, env: Mapping[str, str]) -> bool:
    variable = endpoint.key.env if endpoint.key is not None else None
    return variable is not None and not env.get(variable, "").strip()


def eviction_findings(
    configuration: Configuration, endpoint: Endpoint, inventory: EndpointInventory
) -> Iterator[Finding]:
    """Yield whether judges on a llama-swap server and the workers they judge evict each other: one warning.

    llama-swap's API does not tell its groups. Two models that are loaded at once do not evict each other;
    of others that is to be expected, since one model at a time is the default.
    """
    area = f"endpoint {endpoint.name}"
    judged = judged_on(configuration, endpoint, lambda model: hosted_id(inventory, model.upstream))
    evicting: dict[str, tuple[str, ...]] = {}
    for judge, workers in judged.items():
        apart = tuple(worker for worker in workers if not stay_together(inventory, judge, worker))
        if apart:
            evicting[judge] = apart
        else:
            yield Finding(area, "ok", f"the judge {judge} stays loaded beside {_and(workers)}")
    if evicting:
        pairs = [
            f"the judge {judge} and what it judges ({', '.join(apart)})" for judge, apart in evicting.items()
        ]
        members = (*evicting, *(worker for judge in evicting for worker in judged[judge]))
        yield Finding(
            area,
            "warning",
            f"{', and '.join(pairs)} probably evict each other at every answer: llama-swap keeps one model "
            "loaded at a time, unless a group says otherwise; groups cannot be seen while they are cold; "
            "ignore this if they are in one group already",
            "if they fit into memory together, put them into one group of llama-swap's configuration:\n"
            f"{group_snippet(members)}",
        )


def stay_together(inventory: EndpointInventory, one: str, other: str) -> bool:
    """Tell whether the two models (real ids) are loaded at once, or are the same one."""
    ready = {model.id for model in inventory.models if model.kind == "model" and model.state == "ready"}
    return one == other or {one, other} <= ready


def hosted_id(inventory: EndpointInventory, name: str) -> str | None:
    """Return the real id of a model that the server itself loads; None for any other name."""
    known = look_up(inventory, name)
    return known.model.id if known is not None and known.model.kind == "model" else None


def unknown_skills(configuration: Configuration, names: Iterable[str]) -> Iterator[Finding]:
    """Yield a warning for each skill that chains.yaml names and that is nowhere."""
    known = list(names)
    policies = (tier.agent for chain in configuration.chains.values() for tier in chain.tiers)
    delegates = (name for policy in policies for name in policy.delegate)
    for skill in dict.fromkeys((*configuration.skill_chains, *delegates)):
        if skill not in known:
            near = nearest(skill, known)
            yield Finding(
                "skills",
                "warning",
                f"{configuration.path.name} names the skill {skill}, and there is none",
                f"did you mean {near}?" if near else "add it, or take its name out of there",
            )


def never_warm(configuration: Configuration, endpoint: Endpoint) -> Iterator[Finding]:
    """Yield a warning for each tier of an embedded endpoint that is skipped while cold, and is always cold.

    Without a keeper each command begins with no model loaded: a tier is warm only where one before it, or the
    judge of one, has the same server.
    """
    if endpoint.kind != "embedded" or endpoint.engine.keep:
        return
    for chain in configuration.chains.values():
        loaded: set[ServerSpec] = set()
        for tier in chain.tiers:
            here = tier.model.endpoint.name == endpoint.name
            skips = tier.when_cold == "skip" and tier is not chain.tiers[-1]
            if here and skips and spec_of(tier.model) not in loaded:
                yield _never_warm(tier.model, chain.name)
                continue
            judge = chain.verifier.judge if chain.verifier is not None and tier.verify else None
            used = (tier.model, *(judge.models if judge is not None else ()))
            loaded |= {spec_of(model) for model in used if model.endpoint.name == endpoint.name}


def _never_warm(model: Model, chain: str) -> Finding:
    return Finding(
        f"endpoint {model.endpoint.name}",
        "warning",
        f"{model.name}: is never asked in the chain {chain}: its when_cold is skip, and each command begins "
        "with no model loaded",
        f"set `keep: true` on endpoint '{model.endpoint.name}', and models stay loaded between commands; or "
        "set `when_cold: wait`",
    )


def judged_on(
    configuration: Configuration, endpoint: Endpoint, loaded_as: Callable[[Model], str | None]
) -> Mapping[str, tuple[str, ...]]:
    """Return the judges that the endpoint loads, each with the other models there whose answers it judges.

    `loaded_as` tells as what a model of the endpoint is loaded, None where it is not loaded there.
    """
    found: dict[str, dict[str, None]] = {}
    for chain in configuration.chains.values():
        judge = chain.verifier.judge if chain.verifier else None
        if judge is None or judge.models[0].endpoint.name != endpoint.name:
            continue
        judge_id = loaded_as(judge.models[0])
        for tier in chain.tiers:
            if not tier.verify or tier.model.endpoint.name != endpoint.name:
                continue
            worker = loaded_as(tier.model)
            if judge_id is None or worker is None or worker == judge_id:
                continue
            # A worker that judges, too, is loaded then: it is asked before a judge that is not.
            here = [model for model in judge.models if model.endpoint.name == endpoint.name]
            if not (judge.prefer_warm and worker in map(loaded_as, here)):
                found.setdefault(judge_id, {})[worker] = None
    return {judge_id: tuple(workers) for judge_id, workers in found.items()}


def _not_listed(area: str, use: Use, inventory: EndpointInventory) -> Finding:
    model = use.model
    near = did_you_mean(model.upstream, names_of(inventory))
    message = f"{model.name}: the server lists no model {model.upstream}{near} ({use.words})"
    if model.endpoint.kind == "llama-swap":
        remedy = (
            "set `upstream` to a name of `hyperguild models`; one that is `unlisted` there works all the same"
        )
        return Finding(area, "error", message, remedy)
    return Finding(area, "warning", message, "aliases are often not listed; else set `upstream` to its name")


def _state_words(model: ListedModel) -> str:
    if model.kind == "peer":
        return "on another server; whether it is loaded cannot be known"
    words = {"ready": "loaded", "starting": "loading", "cold": "not loaded, the first request waits for it"}
    return words.get(model.state or "", "listed")


def _and(names: Iterable[str]) -> str:
    every = list(names)
    return " and ".join([", ".join(every[:-1]), every[-1]]) if len(every) > 1 else "".join(every)
