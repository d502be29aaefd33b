"""A request to be walked through a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Chain
from hyperguild.domain.messages import Message
from hyperguild.domain.task import Task
from hyperguild.domain.tools import ToolSpec


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A skill's prompt, a task, and the chain that answers it.

    `session_id` None opens a session of its own. `history` is put between the skill's prompt and the task.
    `work` says where and how tools work; None: none of ours. `external_tools` are executed by the caller.
    `options` are what the caller chose, as `requests.recorded` writes it: with them the run can be continued.
    `parent_run_id` is the run that delegated this one, which delegates nothing itself. `local_only`: no tier
    that is not local, in runs that it delegates either. `insist`: somebody asked for just this tier, so
    that an open breaker lets one request through.
    """

    skill: str
    system_prompt: str
    task: Task
    chain: Chain
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    work: WorkOrder | None = None
    external_tools: tuple[ToolSpec, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    parent_run_id: str | None = None
    local_only: bool = False
    insist: bool = False
