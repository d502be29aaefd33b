"""Exports answers as examples to train on: OpenAI's chat format, one conversation a line.

Shape: {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}]}
(platform.openai.com/docs/guides/supervised-fine-tuning). The user's message is the task as it was given,
without feedback on earlier attempts: that is what the trained model will be asked.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TextIO

from hyperguild.cli.labelled import LabelledRun
from hyperguild.cli.output import json_text
from hyperguild.domain.records import Attempt, Step, StoredRun
from hyperguild.domain.review import ReviewFilter


class OpenAiWriter:
    """One line for each answer that is wanted and can be learnt from.

    Wanted are answers that were accepted; where labels are asked for, those labelled so, whatever their
    verdict. Models, tiers and verdicts that are asked for must be the answer's own.
    """

    def __init__(self, file: TextIO, wanted: ReviewFilter) -> None:
        self._file = file
        self._wanted = wanted
        self._written = 0
        self._runs: set[str] = set()
        self._left_out: Counter[str] = Counter()

    def write(self, run: LabelledRun) -> None:
        """Write the answers of a run that are wanted."""
        chosen = [attempt for attempt in run.stored.result.attempts if self._is_wanted(run, attempt)]
        if not chosen:
            self._left_out["no such answer" if self._wanted.labels else "no accepted answer"] += 1
        for attempt in chosen:
            fault = _fault(run.stored, attempt)
            if fault is not None:
                self._left_out[fault] += 1
                continue
            self._written += 1
            self._runs.add(run.stored.result.run_id)
            self._file.write(f"{json_text({'messages': _messages(run.stored, attempt)})}\n")

    def finish(self) -> list[str]:
        """Say how many there are, and what was left out and why."""
        told = [f"{_counted(self._written, 'example')} of {_counted(len(self._runs), 'run')}"]
        if self._left_out:
            reasons = ", ".join(f"{number} {why}" for why, number in self._left_out.most_common())
            told.append(f"left out: {reasons}")
        return ["; ".join(told)]

    def _is_wanted(self, run: LabelledRun, attempt: Attempt) -> bool:
        wanted = self._wanted
        if wanted.labels:
            fits = (run.label_of(attempt) or "none") in wanted.labels
        else:
            fits = attempt.verdict in (wanted.verdicts or ("accept",))
        return (
            fits
            and (not wanted.models or attempt.model in wanted.models)
            and (not wanted.tiers or attempt.tier in wanted.tiers)
            and (not wanted.verdicts or attempt.verdict in wanted.verdicts)
        )


def _fault(stored: StoredRun, attempt: Attempt) -> str | None:
    """Return why nothing can be learnt from an answer, None where it can."""
    steps = _steps(stored, attempt)
    if stored.task is None or not attempt.answer:
        return "without stored texts"
    if stored.images:
        return "with images"
    if _system(steps) is None:
        return "without a stored prompt"
    if any(message.get("tool_calls") for step in steps for message in step.messages):
        return "that used tools"
    return None


def _messages(stored: StoredRun, attempt: Attempt) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": _system(_steps(stored, attempt))},
        {"role": "user", "content": stored.task},
        {"role": "assistant", "content": attempt.answer},
    ]


def _steps(stored: StoredRun, attempt: Attempt) -> list[Step]:
    return [one for one in stored.steps if one.attempt_id == attempt.attempt_id and one.kind == "step"]


def _system(steps: list[Step]) -> str | None:
    """Return the system prompt of an attempt, None where that is not on record."""
    for step in steps:
        for message in step.messages:
            if message.get("role") == "system" and isinstance(message.get("content"), str):
                return str(message["content"])
    return None


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
