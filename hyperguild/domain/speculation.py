"""What a user says of calls that a skill is likely to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SpeculationRule:
    """A call that is likely where the task has one of the `words`, or where the `pattern` is found in it.

    Words are whole ones, in upper or lower case. `{1}` to `{9}` in a text of the arguments stand for what the
    groups of the pattern found. With neither words nor pattern the call is likely in any task.
    """

    tool: str
    arguments: Mapping[str, Any]
    words: tuple[str, ...] = ()
    pattern: str | None = None
