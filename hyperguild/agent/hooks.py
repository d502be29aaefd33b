"""Hooks: what others may do before and after tools and steps, and when an attempt is about to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from hyperguild.domain.hooks import HOOK_TIMEOUT_S
from hyperguild.domain.messages import Completion, Message
from hyperguild.domain.tools import ToolCall, ToolResult

F = TypeVar("F")


class HookError(Exception):
    """A hook could not do what it is there for; the message says in one line which hook, and why."""


@dataclass(frozen=True, slots=True)
class Denied:
    """A call may not run; the model is told the reason."""

    reason: str


class Control(Protocol):
    """What an `after_step` hook can do. What it does takes effect when the hook has returned."""

    def append(self, *messages: Message) -> None:
        """Add messages to the transcript."""
        ...

    def replace(self, messages: Sequence[Message]) -> None:
        """Put these messages in the place of the whole transcript, prompt and task included."""
        ...

    def stop(self) -> None:
        """End the attempt with the text of this step as its answer."""
        ...

    def continue_(self) -> None:
        """Go on after a final answer, so that the model sees what was added. Its bound is `max_steps`."""
        ...

    async def generate(self, model: str, messages: Sequence[Message]) -> Completion:
        """Ask another model of chains.yaml, within the budget of the run and with a place in its log.

        Raises `ModelError`, `ConfigError` for a model that is not known, `UsageError` where the run's budget
        does not allow it.
        """
        ...


PreTool = Callable[[ToolCall], Awaitable[ToolCall | Denied | None]]
"""Sees a call before it is checked and executed: may rewrite its arguments, or deny it. None: as it is."""

PostTool = Callable[[ToolCall, ToolResult], Awaitable[ToolResult | None]]
"""Sees the result of an executed call, before it is cut to size: may rewrite it. None: as it is."""

BeforeStep = Callable[[tuple[Message, ...]], Awaitable[Sequence[Message] | None]]
"""Sees the transcript before each step; a list that it returns replaces the messages from then on."""

AfterStep = Callable[[Completion, tuple[Message, ...], Control], Awaitable[None]]
"""Sees each answered step once its tools have run, the last one too."""

OnStop = Callable[[str], Awaitable[str | None]]
"""Sees the final answer; a text that it returns is put to the model, which goes on. None: it may end."""


@dataclass(frozen=True, slots=True)
class Hook(Generic[F]):
    """One hook and its terms.

    `name` is for events and errors. `tools` are globs of tool names, for `pre_tool` and `post_tool`. Where
    it raises, or takes longer than `timeout_s`: a `pre_tool` hook denies the call and a `post_tool` hook
    withholds the result, unless it is `fail_open`; the others are passed over, or with `on_error` `abort`
    end the attempt. The step itself is never lost.
    """

    run: F
    name: str
    tools: tuple[str, ...] = ("*",)
    timeout_s: float = HOOK_TIMEOUT_S
    fail_open: bool = False
    on_error: Literal["ignore", "abort"] = "ignore"


@dataclass(frozen=True, slots=True)
class Hooks:
    """All hooks of a run, each list in the order in which they are called."""

    pre_tool: tuple[Hook[PreTool], ...] = ()
    post_tool: tuple[Hook[PostTool], ...] = ()
    before_step: tuple[Hook[BeforeStep], ...] = ()
    after_step: tuple[Hook[AfterStep], ...] = ()
    stop: tuple[Hook[OnStop], ...] = ()

    def then(self, others: Hooks) -> Hooks:
        """Return these hooks followed by the others, kind by kind."""
        return Hooks(
            self.pre_tool + others.pre_tool,
            self.post_tool + others.post_tool,
            self.before_step + others.before_step,
            self.after_step + others.after_step,
            self.stop + others.stop,
        )


NO_HOOKS = Hooks()

HooksIn = Callable[[Path | None], Hooks]
"""Makes the hooks of an attempt that works in a folder; None: it works in none."""


def no_hooks(folder: Path | None) -> Hooks:
    """Return none: a `HooksIn`."""
    del folder
    return NO_HOOKS
