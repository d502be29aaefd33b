"""Guesses calls by the rules of a skill: words and patterns of the task. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hyperguild.agent.guesses import Guess, Seen, matches
from hyperguild.domain.speculation import SpeculationRule

MATCH_TIMEOUT_S: Final = 0.05
"""A pattern that takes longer guesses nothing: whoever wrote it, the model is not kept waiting."""

TASK_CHARS: Final = 20_000
"""Of a task, looked at."""

_PLACE: Final = re.compile(r"\{([1-9])\}")


class RulePredictor:
    """The `Predictor` of one attempt; its task is looked at once."""

    def __init__(self, rules: Sequence[SpeculationRule]) -> None:
        self._rules = tuple(rules)
        self._task: str | None = None
        self._likely: tuple[Guess, ...] = ()

    def guesses(self, seen: Seen) -> Sequence[Guess]:
        """Return what the rules name, in their order, less what was called already."""
        if self._task != seen.task:
            self._task = seen.task
            found = (_guess(rule, seen.task[:TASK_CHARS]) for rule in self._rules)
            self._likely = tuple(guess for guess in found if guess is not None)
        return [guess for guess in self._likely if not any(matches(guess, call) for call in seen.calls)]


def _guess(rule: SpeculationRule, task: str) -> Guess | None:
    """Return what a rule makes of a task; None where it says nothing of it."""
    if rule.pattern is not None:
        return _found(rule, rule.pattern, task)
    words = "|".join(re.escape(word) for word in rule.words)
    if words and not re.search(rf"(?i)(?<!\w)(?:{words})(?!\w)", task):
        return None
    return Guess(rule.tool, dict(rule.arguments))


def _found(rule: SpeculationRule, pattern: str, task: str) -> Guess | None:
    import regex  # noqa: PLC0415  # start-up

    try:
        found = regex.search(pattern, task, regex.MULTILINE, timeout=MATCH_TIMEOUT_S, concurrent=True)
    except TimeoutError:
        return None
    if found is None:
        return None
    groups = [group or "" for group in found.groups()]
    return Guess(rule.tool, {key: _filled(value, groups) for key, value in rule.arguments.items()})


def _filled(value: Any, groups: Sequence[str]) -> Any:
    """Put what was found in the places of a value, in depth; what was found has no places itself."""
    if isinstance(value, str):
        return _PLACE.sub(lambda place: groups[int(place[1]) - 1], value)
    if isinstance(value, Mapping):
        return {key: _filled(one, groups) for key, one in value.items()}
    return [_filled(one, groups) for one in value] if isinstance(value, list) else value
