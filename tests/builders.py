"""Makes domain values for tests: everything has a default, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

from hyperguild.domain.chain import Chain, Endpoint, Model, Tier, TierLabel
from hyperguild.domain.records import Attempt, ErrorInfo

SWAP = Endpoint("swap", "llama-swap", "http://127.0.0.1:9")
CLOUD = Endpoint("cloud", "anthropic", "https://cloud.example")


def local_model(name: str = "phi4", **fields: Any) -> Model:
    return Model(name, SWAP, upstream=name, label="local", **fields)


def cloud_model(name: str = "claude", **fields: Any) -> Model:
    return Model(name, CLOUD, upstream=name, label="subagent", **fields)


def tier(position: int, model: Model | None = None, **fields: Any) -> Tier:
    chosen = model or local_model(f"model-{position}")
    fields.setdefault("verify", chosen.label == "local")
    return Tier(position, chosen, **fields)


def chain(*tiers: Tier, **fields: Any) -> Chain:
    return Chain("test", tiers or (tier(0),), **fields)


def attempt(position: int = 0, verdict: str = "escalate", **fields: Any) -> Attempt:
    label: TierLabel = "local"
    known: dict[str, Any] = {
        "attempt_id": f"attempt-{position}",
        "position": position,
        "model": f"model-{position}",
        "tier": label,
        "endpoint": "swap",
        "verdict": verdict,
    }
    if verdict == "escalate":
        known |= {"cause": "rejected", "answer": "an answer", "feedback": "not good"}
    if verdict == "error":
        known |= {"cause": "server", "error": ErrorInfo(kind="server", message="boom")}
    if verdict == "skip":
        known |= {"cause": "cold"}
    return Attempt.model_validate({**known, **fields})
