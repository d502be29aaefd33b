"""What `chains list` and `chains show` print."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hyperguild.cli.agent_facts import agent_facts, agent_object
from hyperguild.cli.hook_facts import add_hooks, hooks_object
from hyperguild.cli.output import json_text
from hyperguild.cli.page import Page, Part
from hyperguild.config.chains import DEFAULT
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import listed, names_a_secret, quoted
from hyperguild.domain.chain import Chain, Check, Judge, Tier, TimeLimits, VerifierSpec
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.text import one_line
from hyperguild.domain.usage import Price
from hyperguild.errors import UsageError

ARROW = " → "
JSON_CHARS = 300
"""Characters that are shown of a JSON Schema or of an extra body; --json has them whole."""

ANSWERS_SEEN = {
    "none": "what the verifier said, no answers",
    "last": "what the verifier said, and the last refused answer",
    "all": "what the verifier said, and every refused answer",
}
EXHAUSTED = {"error": "an error", "best": "the best refused answer, flagged"}
ON_JUDGE_ERROR = {
    "escalate": "a judge that fails escalates",
    "accept": "a judge that fails accepts",
    "retry": "a judge that fails is asked again",
}


def default_chain(configuration: Configuration) -> str | None:
    """Return the chain of skills without an entry: `default`, else the only one, else none."""
    if DEFAULT in configuration.chains:
        return DEFAULT
    return next(iter(configuration.chains)) if len(configuration.chains) == 1 else None


def chain_to_show(configuration: Configuration, name: str | None) -> Chain:
    """Return the named chain, or the default one.

    Raises `ConfigError` where there is none of that name, `UsageError` where one has to be named.
    """
    wanted = name or default_chain(configuration)
    if wanted is None:
        known = listed(quoted(chain) for chain in configuration.chains)
        raise UsageError(f"{configuration.path.name} has no default chain", hint=f"name one: {known}")
    return configuration.chain_for("", wanted)


def listed_chain(configuration: Configuration, chain: Chain) -> dict[str, Any]:
    """Return what `chains list --json` prints of a chain."""
    return {
        "name": chain.name,
        "default": chain.name == default_chain(configuration),
        "tiers": [tier.model.name for tier in chain.tiers],
        "verifier": None if chain.verifier is None else chain.verifier.name,
        "budget": dataclasses.asdict(chain.budget),
        "skills": [skill for skill, name in configuration.skill_chains.items() if name == chain.name],
    }


def chain_object(configuration: Configuration, chain: Chain, env: Mapping[str, str]) -> dict[str, Any]:
    """Return what `chains show --json` prints: the chain with every default.

    Values of variables of `env` that hold secrets by their name are not in it: an address may be made of one.
    """
    scrubber = Scrubber()
    for name, value in env.items():
        if names_a_secret(name):
            scrubber.learn(name, value)
    shown: dict[str, Any] = scrubber.scrub_json(
        {
            **listed_chain(configuration, chain),
            "verifier": None if chain.verifier is None else _verifier_object(chain.verifier),
            "feedback": dataclasses.asdict(chain.feedback),
            "on_exhausted": chain.on_exhausted,
            "tiers": [_tier_object(tier) for tier in chain.tiers],
            "hooks": hooks_object(configuration.hooks),
            "limits": dataclasses.asdict(configuration.limits),
        }
    )
    return shown


def fill_list(page: Page, chains: Sequence[Mapping[str, Any]]) -> None:
    """Put chains as of `listed_chain` on the page: a row of tiers, and a dim one of the rest."""
    page.label_width = max(len(chain["name"]) for chain in chains) + 2
    for chain in chains:
        rest = [
            [(f"verifier {chain['verifier']}" if chain["verifier"] else "no verifier", "dim")],
            [(f"budget {budget_text(chain['budget'])}", "dim")],
            [(f"used by {_used_by(chain)}", "dim")],
        ]
        tiers = [[(model, "")] for model in chain["tiers"]]
        if page.narrow or page.label_width > page.width // 3:
            page.add((chain["name"], "bold"))
            indent = page.indent
            page.flow(tiers, ARROW, indent=indent)
        else:
            indent = page.label_width
            page.fact(chain["name"], (ARROW.join(chain["tiers"]), ""), style="bold")
        page.flow(rest, " · ", indent=indent)


def fill_page(page: Page, chain: Mapping[str, Any]) -> None:
    """Put a chain as of `chain_object` on the page."""
    page.label_width = 13
    page.add((f"chain {chain['name']}", "bold"), ("  (default)" if chain["default"] else "", "dim"))
    verifier = chain["verifier"]
    feedback = chain["feedback"]
    page.fact("used by", (_used_by(chain), ""), indent=2)
    page.fact("budget", (budget_text(chain["budget"]), ""), indent=2)
    for scope in ("session", "day"):
        if any(chain["limits"][scope].values()):
            page.fact(f"per {scope}", (budget_text(chain["limits"][scope]), ""), indent=2)
    told = f"{ANSWERS_SEEN[feedback['answers']]}; at most {feedback['max_chars']:,} characters"
    page.fact("feedback", (told, ""), indent=2)
    page.fact("if all fail", (EXHAUSTED[chain["on_exhausted"]], ""), indent=2)
    for tier in chain["tiers"]:
        _add_tier(page, tier, chain)
    if verifier is not None:
        _add_verifier(page, verifier)
    add_hooks(page, chain["hooks"])


def budget_text(budget: Mapping[str, Any]) -> str:
    """Return a budget in words, from its fields `cost_usd`, `seconds` (where it has any), and the rest."""
    limits = [
        None if budget["cost_usd"] is None else money(budget["cost_usd"]),
        None if budget.get("seconds") is None else duration(budget["seconds"]),
        None if budget["attempts"] is None else _count(budget["attempts"], "attempt"),
        None if budget["tokens"] is None else _count(budget["tokens"], "token"),
    ]
    given = [limit for limit in limits if limit is not None]
    return f"at most {', '.join(given)}" if given else "none"


def money(usd: float) -> str:
    """Return an amount that somebody wrote, with cents, and with as many more digits as it has."""
    return f"${usd:.2f}" if round(usd, 2) == usd else f"${usd:g}"


def duration(seconds: float) -> str:
    """Return a limit in time that somebody wrote: in minutes where these are whole and two or more."""
    return f"{seconds / 60:g} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} s"


def _tier_object(tier: Tier) -> dict[str, Any]:
    model = tier.model
    return {
        "position": tier.position,
        "model": model.name,
        "endpoint": model.endpoint.name,
        "kind": model.endpoint.kind,
        "base_url": model.endpoint.base_url,
        "upstream": model.upstream,
        "gguf": None if model.gguf is None else str(model.gguf),
        "tier": model.label,
        "verify": tier.verify,
        "when_cold": tier.when_cold if tier.probed else None,
        "hedge_after_s": tier.hedge_after_s if tier.probed and tier.when_cold == "hedge" else None,
        "speculate": tier.speculate,
        "attempts": tier.attempts,
        **_limits_object(tier.limits),
        "retries": tier.retry.retries,
        "retry_wait_max_s": tier.retry.wait_max_s,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "params": dict(model.params),
        "extra_body": dict(model.extra_body),
        "price": price_object(model.price),
        "vision": model.vision,
        "tools": model.tools,
        "json_schema": model.json_schema,
        "agent": agent_object(tier.agent),
    }


def price_object(price: Price | None) -> dict[str, float | None] | None:
    """Return a price as JSON: USD per million tokens, under the names of chains.yaml."""
    return None if price is None else dataclasses.asdict(price)


def _limits_object(limits: TimeLimits) -> dict[str, float]:
    return {
        "timeout_s": limits.total_s,
        "load_timeout_s": limits.load_s,
        "first_token_timeout_s": limits.first_token_s,
        "silence_timeout_s": limits.silence_s,
    }


def _verifier_object(verifier: VerifierSpec) -> dict[str, Any]:
    return {
        "name": verifier.name,
        "checks": [_check_object(check) for check in verifier.checks],
        "judge": None if verifier.judge is None else _judge_object(verifier.judge),
    }


def _check_object(check: Check) -> dict[str, Any]:
    fields = dataclasses.asdict(check)
    fields.pop("folder", None)
    return {"kind": fields.pop("kind"), **fields}


def _judge_object(judge: Judge) -> dict[str, Any]:
    return {
        "model": [model.name for model in judge.models],
        "prefer": "warm" if judge.prefer_warm else None,
        "accept_at": judge.accept_at,
        "votes": judge.votes,
        "on_error": judge.on_error,
        "rubric": judge.rubric,
        **_limits_object(judge.limits),
        "models": [
            {
                "model": model.name,
                "endpoint": model.endpoint.name,
                "upstream": model.upstream,
                "params": dict(model.params),
                "extra_body": dict(model.extra_body),
            }
            for model in judge.models
        ],
    }


def _add_tier(page: Page, tier: Mapping[str, Any], chain: Mapping[str, Any]) -> None:
    page.gap()
    page.add(
        (f"{tier['position'] + 1}  ", "dim"),
        (tier["model"], "bold"),
        (f"  {tier['tier']}, {_how_verified(tier, chain['verifier'])}", ""),
    )
    loads = tier["when_cold"] is not None
    about = [part for part in (tier["kind"], tier["base_url"]) if part]
    last = tier["position"] == len(chain["tiers"]) - 1
    facts = [
        ("endpoint", f"{tier['endpoint']} ({', '.join(about)})"),
        ("upstream", tier["upstream"] if tier["gguf"] is None else ""),
        ("file", tier["gguf"] or ""),
        ("when cold", _when_cold(tier, last=last) if loads else ""),
        ("speculates", "begins the next tier while this one is judged" if tier["speculate"] else ""),
        ("attempts", _attempts_text(tier)),
        ("limits", _limits_text(tier, loads=loads)),
        ("window", _window_text(tier)),
        ("params", _settings_text(tier["params"])),
        ("extra body", _short_json(tier["extra_body"])),
        ("can", ", ".join(name for name in ("vision", "tools", "json_schema") if tier[name]) or "text only"),
        ("price", price_text(tier["price"], label=tier["tier"])),
        *agent_facts(tier["agent"]),
    ]
    for label, text in facts:
        if text:
            page.fact(label, (text, ""), indent=3)


def _add_verifier(page: Page, verifier: Mapping[str, Any]) -> None:
    page.gap()
    page.add((f"verifier {verifier['name']}", "bold"))
    for number, check in enumerate(verifier["checks"]):
        page.fact("" if number else "checks", *_check_parts(check), indent=3)
    judge = verifier["judge"]
    if judge is None:
        page.fact("judge", ("none", ""), indent=3)
        return
    order = "; one that is loaded goes first" if judge["prefer"] and len(judge["model"]) > 1 else ""
    votes = _count(judge["votes"], "vote")
    names = [f"{model['model']} ({model['endpoint']})" for model in judge["models"]]
    rules = f"from {judge['accept_at']:g} on; {votes}; {ON_JUDGE_ERROR[judge['on_error']]}"
    page.fact("judge", (", else ".join(names) + order, ""), indent=3)
    page.fact("accepts", (rules, ""), indent=3)
    for model in judge["models"]:
        given = [text for text in (_settings_text(model["params"]), _short_json(model["extra_body"])) if text]
        if given:
            page.fact("params", (f"{model['model']}: {', '.join(given)}", ""), indent=3)
    page.fact("limits", (_limits_text(judge, loads=True), ""), indent=3)
    if judge["rubric"]:
        page.fact("rubric", (judge["rubric"].strip(), ""), indent=3)


def price_text(price: Mapping[str, Any] | None, *, label: str) -> str:
    """Return a price in words, per million tokens."""
    if price is None:
        return "free" if label == "local" else "unknown"
    names = (("input", "in"), ("output", "out"), ("cached_input", "cached"), ("cache_write", "cache write"))
    parts = [f"{money(price[key])} {word}" for key, word in names if price[key] is not None]
    return f"{', '.join(parts)}; per million tokens"


def _used_by(chain: Mapping[str, Any]) -> str:
    skills = list(chain["skills"])
    if chain["default"]:
        skills.append("every other skill" if skills else "every skill without an entry")
    return ", ".join(skills) or "--chain only"


def _how_verified(tier: Mapping[str, Any], verifier: Mapping[str, Any] | None) -> str:
    if not tier["verify"] or verifier is None:
        return "not judged"
    if verifier["judge"] is None:
        return "checked"
    return "checked and judged" if verifier["checks"] else "judged"


def _when_cold(tier: Mapping[str, Any], *, last: bool) -> str:
    policy: str = tier["when_cold"]
    if policy == "skip" and last:
        return "wait (the last tier is never skipped)"
    if tier["hedge_after_s"]:
        return f"{policy}, after {duration(tier['hedge_after_s'])}"
    return policy


def _attempts_text(tier: Mapping[str, Any]) -> str:
    if not tier["retries"]:
        return f"{tier['attempts']}; no retries"
    retries = _count(tier["retries"], "retry", "retries")
    return f"{tier['attempts']}; {retries} each, after waits of up to {duration(tier['retry_wait_max_s'])}"


def _limits_text(limits: Mapping[str, Any], *, loads: bool) -> str:
    return ", ".join(
        [
            f"{duration(limits['timeout_s'])} in all",
            *([f"{duration(limits['load_timeout_s'])} to load"] if loads else []),
            f"{duration(limits['first_token_timeout_s'])} to the first token",
            f"{duration(limits['silence_timeout_s'])} from token to token",
        ]
    )


def _window_text(tier: Mapping[str, Any]) -> str:
    window = "unknown" if tier["context_window"] is None else f"{tier['context_window']:,} tokens"
    longest = tier["max_output_tokens"]
    return window if longest is None else f"{window}, of which {longest:,} for the answer"


def _settings_text(settings: Mapping[str, Any]) -> str:
    texts = (json_text(value) if isinstance(value, list) else str(value) for value in settings.values())
    return ", ".join(f"{name} {text}" for name, text in zip(settings, texts, strict=True))


def _check_parts(check: Mapping[str, Any]) -> tuple[Part, ...]:
    given = {name: value for name, value in check.items() if name != "kind" and value is not None}
    words = ", ".join(f"{name} {_check_value(name, value)}" for name, value in given.items())
    return (check["kind"], ""), (f"  {words}" if words else "", "dim")


def _check_value(name: str, value: Any) -> str:
    if name == "argv":
        return shlex.join(value)
    # Patterns in quotes: white space at their ends counts.
    return one_line(json_text(value), JSON_CHARS)


def _short_json(value: Mapping[str, Any]) -> str:
    return one_line(json_text(value), JSON_CHARS) if value else ""


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
