"""Programs that chains.yaml hooks into the agent loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HookKind = Literal["pre_tool", "post_tool", "before_step", "after_step", "stop"]
"""Where in the loop a hook is called; what each may do stands in `agent.hooks`."""

HOOK_TIMEOUT_S = 30.0
"""Seconds that a hook may take, if nothing else is said: a person may be watching."""


@dataclass(frozen=True, slots=True)
class CommandHook:
    """A program that is run at some point of the loop, without a shell, and the terms of that.

    `tools` (globs of tool names) and `fail_open` are for `pre_tool` and `post_tool`, `on_error` is for the
    others; they mean what they mean in `agent.hooks.Hook`. Raises `ValueError` where there is no program.
    """

    argv: tuple[str, ...]
    tools: tuple[str, ...] = ("*",)
    timeout_s: float = HOOK_TIMEOUT_S
    fail_open: bool = False
    on_error: Literal["ignore", "abort"] = "ignore"

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError("a hook needs a program")
