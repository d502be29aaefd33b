"""What is verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperguild.domain.messages import FinishReason


@dataclass(frozen=True, slots=True)
class Subject:
    """An answer and what it answers. `task` is the ORIGINAL task, rendered, without anybody's feedback.

    `changes` says what the attempt changed on its way: files touched, commands run; "" for nothing. `folder`
    is where it worked, None where there is no such place.
    """

    skill_prompt: str
    task: str
    answer: str
    finish_reason: FinishReason
    changes: str = ""
    folder: Path | None = None
