"""Who wants to know what happens while an answer is verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hyperguild.domain.records import CheckResult, JudgeUse
from hyperguild.inference.events import Loading


@dataclass(frozen=True, slots=True)
class VerifierWatch:
    """Callbacks; none may block or raise.

    `on_check` gets each check's result, `on_judge_loading` a judge model's name and how its load goes,
    `on_judge_use` who has judged and what that used so far, after every call, and last with their word;
    `on_warning` what a person should know of the way to the verdict. A verdict's own warning is not among it.
    """

    on_check: Callable[[CheckResult], None]
    on_judge_loading: Callable[[str, Loading], None]
    on_judge_use: Callable[[JudgeUse], None]
    on_warning: Callable[[str], None]
