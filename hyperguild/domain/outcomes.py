"""What became of runs and attempts, in a few words."""

from __future__ import annotations

from hyperguild.domain.records import Attempt, RunStatus

CAUSES = {
    "max_steps": "out of steps",
    "repetition": "stopped: it repeated itself",
    "greeting": "stopped: it greeted instead of answering",
    "patch_spiral": "stopped: its edits kept failing",
    "repeated_call": "stopped: it called the same tool again and again",
    "rejected": "refused by the judge",
    "check_failed": "refused by a check",
    "verifier_error": "no verdict could be had",
    "truncated": "cut off",
}

ENDINGS: dict[RunStatus, str] = {
    "exhausted": "no tier gave an answer that was accepted",
    "best_effort": "no tier was accepted; this is the best refused answer",
    "budget_exceeded": "the budget or the deadline was spent",
    "cancelled": "stopped from outside",
    "running": "still going on; what is finished by now:",
    "interrupted": "its process ended before the run did; what was finished by then:",
    "awaiting_tools": "waits for tool results",
}
"""What a status other than `accepted` means."""


def outcome(attempt: Attempt) -> str:
    """Return what became of an attempt, in a few words."""
    if attempt.verdict == "accept":
        return "accepted" if attempt.score is None else f"accepted, score {attempt.score:.2f}"
    if attempt.error is not None:
        return f"error: {attempt.error.kind}"
    if attempt.verdict == "skip":
        return f"skipped: {attempt.cause}"
    text = CAUSES.get(str(attempt.cause), str(attempt.cause))
    return text if attempt.score is None else f"{text}, score {attempt.score:.2f}"


def reason(attempt: Attempt) -> str:
    """Return why an attempt was not accepted: the error, the verifier's feedback, or why it was skipped."""
    return attempt.error.message if attempt.error is not None else attempt.feedback
