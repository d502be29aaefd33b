"""Tells the events of delegated runs from those of the run that delegated them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperguild.domain.events import Event, RunFinished, RunStarted, ToolCalled
from hyperguild.skills.tool_names import DELEGATE


class DelegatedRuns:
    """Follows one run after the other, and how far what each has delegated is. Show it every event, once."""

    def __init__(self) -> None:
        self._own: str | None = None
        self._skill = ""
        self._tasks = 0
        self.done = 0

    def take(self, event: Event) -> bool:
        """Return whether the event is one of a delegated run."""
        if isinstance(event, RunStarted) and event.parent_run_id is None:
            self._own = event.run_id
        delegated = self._own is not None and event.run_id != self._own
        if isinstance(event, RunFinished) and delegated:
            self.done += 1
        elif isinstance(event, ToolCalled) and event.name == DELEGATE and not delegated:
            given = event.arguments or {}
            self._skill, self._tasks, self.done = str(given.get("skill", "")), _count(given), 0
        return delegated

    def progress(self) -> str:
        """Return what is being delegated, and how much is done: `delegates 3 tasks to review, 1 done`."""
        return f"{delegates(self._skill, self._tasks)}, {self.done} done"

    def place(self) -> str:
        """Return which run of the call has ended, in the order in which they end: `review 1/3`."""
        return f"{self._skill} {self.done}/{self._tasks}"


def delegates(skill: str, tasks: int) -> str:
    """Return a call in words: `delegates 3 tasks to review`."""
    return f"delegates {tasks} task{'' if tasks == 1 else 's'} to {skill}"


def call_in_words(arguments: Mapping[str, Any] | None) -> str:
    """Return a call of `delegate` in words, whatever its arguments are."""
    given = arguments or {}
    return delegates(str(given.get("skill", "?")), _count(given))


def _count(arguments: Mapping[str, Any]) -> int:
    tasks = arguments.get("tasks")
    return len(tasks) if isinstance(tasks, list | tuple) else 0
