"""What the end of a request says of who was asked. Pure."""

from __future__ import annotations

from typing import Literal

from hyperguild.errors import TREATMENT, ModelError

REST_S = 300.0
"""How long a 429 or 529 that names no time, and that retries did not help against, keeps others away."""

OVERLOADED_STATUS = 529
"""Anthropic's for a service without room, which lasts; a 503 is often just a model that is being loaded."""

Sign = Literal["failure", "alive", "none"]


def sign_of(error: ModelError) -> Sign:
    """Return what the error says of the server's health, as `TREATMENT` has it."""
    treatment = TREATMENT[error.kind]
    match treatment.breaker:
        case _ if not error.counted:
            return "none"
        case "failure":
            return "failure"
        case "failure_if_retryable":
            return "failure" if error.retryable else "none"
        case "alive":
            return "alive" if error.status is not None else "none"
    return "none"


def asks_to_wait(error: ModelError) -> bool:
    """Tell whether the server is there and wants fewer requests: one that is sent again is no failure."""
    return error.kind in {"rate_limit", "overloaded"}


def rest_s(error: ModelError) -> float | None:
    """Return for how long nobody should ask after this error has ended an attempt; None: it just counts."""
    if not asks_to_wait(error):
        return None
    if error.retry_after_s is not None:
        return error.retry_after_s or None
    return REST_S if error.kind == "rate_limit" or error.status == OVERLOADED_STATUS else None
