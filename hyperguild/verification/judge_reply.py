"""Reads a judge's reply: exactly one verdict object, or none at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from hyperguild.domain.messages import TextDelta
from hyperguild.domain.text import cleaned, clipped, one_line
from hyperguild.inference.reasoning import ThinkSplitter
from hyperguild.verification.fences import less_code_fence
from hyperguild.verification.judge_prompt import FEEDBACK_CHARS_MAX

QUOTED_CHARS = 80
"""Of a reply that is no verdict, in the message that says so."""

KEYS = frozenset({"accept", "score", "feedback"})


class NoVerdictError(ValueError):
    """The reply is no verdict. `fault` says why, and nothing of what it `said`: it goes into a prompt.

    The message, for a person, quotes that as well.
    """

    def __init__(self, fault: str, said: str = "") -> None:
        super().__init__(f"{fault}: {one_line(said, QUOTED_CHARS)!r}" if said else fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """A judge's verdict: `score` is 0 to 1, `feedback` at most 600 characters, fit for a terminal."""

    accept: bool
    score: float
    feedback: str


def parse_reply(text: str) -> JudgeReply:
    """Parse a reply, less reasoning at its head and less one code fence around it.

    What remains must be one JSON object with the three keys and no others, none twice, each of its type. Only
    feedback that is too long is tolerated, and cut: a server that knows no schema cannot count characters.
    Raises `NoVerdictError`.
    """
    body = less_code_fence(_less_reasoning(text))
    try:
        verdict = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_number)
    except RecursionError as error:
        raise NoVerdictError("it is nested too deeply") from error
    except NoVerdictError:
        raise
    except ValueError as error:
        raise NoVerdictError("it is not JSON", text) from error
    if not isinstance(verdict, dict):
        raise NoVerdictError("it is not a JSON object")
    if verdict.keys() != KEYS:
        raise NoVerdictError("its keys are not exactly accept, score and feedback")
    accept, score, feedback = verdict["accept"], verdict["score"], verdict["feedback"]
    if not isinstance(accept, bool):
        raise NoVerdictError("accept is neither true nor false")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise NoVerdictError("score is not a number from 0 to 1")
    if not isinstance(feedback, str):
        raise NoVerdictError("feedback is not a string")
    return JudgeReply(accept, float(score), clipped(cleaned(feedback).strip(), FEEDBACK_CHARS_MAX))


def _less_reasoning(text: str) -> str:
    splitter = ThinkSplitter()
    parts = [*splitter.feed(text), *splitter.flush()]
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NoVerdictError("a key stands in it twice")
    return fields


def _refuse_number(name: str) -> NoReturn:
    raise NoVerdictError(f"{name} is no number of JSON")
