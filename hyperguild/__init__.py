"""hyperguild answers a skill request with the cheapest model that is good enough.

`Guild` is where a program begins; docs/library.md shows how. What `__all__` lists is imported when it is
first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # For type checkers and editors; at run time `__getattr__` does it, when a name is first used.
    from hyperguild.adapters.tools.functions import FunctionTool, tool
    from hyperguild.agent.hooks import Control, Denied, Hooks
    from hyperguild.agent.plain_hooks import hooks
    from hyperguild.domain.events import (
        AnswerDelta,
        AttemptFinished,
        AttemptStarted,
        Event,
        RunFinished,
        RunStarted,
        ToolCalled,
        ToolReturned,
        VerdictGiven,
        Warned,
    )
    from hyperguild.domain.messages import Completion, Message
    from hyperguild.domain.records import (
        Attempt,
        BudgetExceededError,
        ChainExhaustedError,
        RunError,
        RunResult,
        SessionSummary,
        StoredRun,
        UnrecordedRunError,
    )
    from hyperguild.domain.task import AttachedFile
    from hyperguild.domain.tools import ToolCall, ToolError, ToolResult
    from hyperguild.errors import (
        ConfigError,
        HyperguildError,
        ModelError,
        SkillError,
        StoreError,
        TrustError,
        UsageError,
    )
    from hyperguild.library.guild import Guild
    from hyperguild.library.stream import EventStream
    from hyperguild.ports import Question, ToolContext

__version__ = "0.1.0"

_PLACES = {
    "FunctionTool": "hyperguild.adapters.tools.functions",
    "tool": "hyperguild.adapters.tools.functions",
    "Control": "hyperguild.agent.hooks",
    "Denied": "hyperguild.agent.hooks",
    "Hooks": "hyperguild.agent.hooks",
    "hooks": "hyperguild.agent.plain_hooks",
    "AnswerDelta": "hyperguild.domain.events",
    "AttemptFinished": "hyperguild.domain.events",
    "AttemptStarted": "hyperguild.domain.events",
    "Event": "hyperguild.domain.events",
    "RunFinished": "hyperguild.domain.events",
    "RunStarted": "hyperguild.domain.events",
    "ToolCalled": "hyperguild.domain.events",
    "ToolReturned": "hyperguild.domain.events",
    "VerdictGiven": "hyperguild.domain.events",
    "Warned": "hyperguild.domain.events",
    "Completion": "hyperguild.domain.messages",
    "Message": "hyperguild.domain.messages",
    "Attempt": "hyperguild.domain.records",
    "BudgetExceededError": "hyperguild.domain.records",
    "ChainExhaustedError": "hyperguild.domain.records",
    "RunError": "hyperguild.domain.records",
    "RunResult": "hyperguild.domain.records",
    "SessionSummary": "hyperguild.domain.records",
    "StoredRun": "hyperguild.domain.records",
    "UnrecordedRunError": "hyperguild.domain.records",
    "AttachedFile": "hyperguild.domain.task",
    "ToolCall": "hyperguild.domain.tools",
    "ToolError": "hyperguild.domain.tools",
    "ToolResult": "hyperguild.domain.tools",
    "ConfigError": "hyperguild.errors",
    "HyperguildError": "hyperguild.errors",
    "ModelError": "hyperguild.errors",
    "SkillError": "hyperguild.errors",
    "StoreError": "hyperguild.errors",
    "TrustError": "hyperguild.errors",
    "UsageError": "hyperguild.errors",
    "Guild": "hyperguild.library.guild",
    "EventStream": "hyperguild.library.stream",
    "Question": "hyperguild.ports",
    "ToolContext": "hyperguild.ports",
}
"""Where each public name is defined."""

__all__ = [
    "AnswerDelta",
    "AttachedFile",
    "Attempt",
    "AttemptFinished",
    "AttemptStarted",
    "BudgetExceededError",
    "ChainExhaustedError",
    "Completion",
    "ConfigError",
    "Control",
    "Denied",
    "Event",
    "EventStream",
    "FunctionTool",
    "Guild",
    "Hooks",
    "HyperguildError",
    "Message",
    "ModelError",
    "Question",
    "RunError",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "SessionSummary",
    "SkillError",
    "StoreError",
    "StoredRun",
    "ToolCall",
    "ToolCalled",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "ToolReturned",
    "TrustError",
    "UnrecordedRunError",
    "UsageError",
    "VerdictGiven",
    "Warned",
    "__version__",
    "hooks",
    "tool",
]


if not TYPE_CHECKING:
    # Hidden from type checkers, who would take any name for one of ours.
    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(import_module(_PLACES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *_PLACES})
