"""A request to be walked through a chain."""

from __future__ import annotations

from dataclasses import dataclass

from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Chain
from hyperguild.domain.messages import Message
from hyperguild.domain.task import Task


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A skill's prompt, a task, and the chain that answers it.

    `session_id` None opens a session of its own. `history` is put between the skill's prompt and the task.
    `work` says where and how tools work; None: no tools.
    """

    skill: str
    system_prompt: str
    task: Task
    chain: Chain
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    work: WorkOrder | None = None
