"""Answers that are none, or not whole: what is said of them whatever a verifier says. Pure."""

from __future__ import annotations

from hyperguild.domain.chain import Tier
from hyperguild.domain.messages import FinishReason
from hyperguild.domain.records import Verdict
from hyperguild.errors import ProtocolError


def empty(finish_reason: FinishReason, *, offered: bool) -> ProtocolError:
    """Return the error of an answer without text; `offered` tells whether the model had tools."""
    if finish_reason == "length":
        return ProtocolError(
            "no answer: every output token went into reasoning",
            hint="raise max_output_tokens, or switch the model's thinking off through extra_body",
        )
    if finish_reason in {"refusal", "content_filter"}:
        return ProtocolError(f"no answer: the server withheld it ({finish_reason})")
    if finish_reason == "tool_calls" and offered:
        return ProtocolError("no answer: the server spoke of a tool call, and sent none")
    if finish_reason == "tool_calls":
        return ProtocolError("no answer: the model called a tool, and none was offered")
    return ProtocolError("the answer is empty")


def unfinished(finish_reason: FinishReason, tier: Tier, *, offered: bool) -> Verdict | None:
    """Return the refusal of an answer that is cut off or withheld, verified or not; None for a whole one."""
    match finish_reason:
        case "length":
            limit = tier.model.max_output_tokens
            after = f"after {limit} tokens, its limit" if limit else "at the limit of the model or its window"
            feedback = f"the answer was cut off {after}: give a complete answer, and a shorter one"
            return Verdict(kind="escalate", cause="truncated", feedback=feedback)
        case "refusal" | "content_filter" as reason:
            feedback = f"the model declined to answer ({reason})"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
        case "tool_calls" if offered:
            feedback = (
                "the model was about to call a tool, and no call came: call it, or give the whole answer"
            )
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
        case "tool_calls":
            feedback = "the model called a tool instead of answering; there are no tools: answer directly"
            return Verdict(kind="escalate", cause="rejected", feedback=feedback)
    return None
