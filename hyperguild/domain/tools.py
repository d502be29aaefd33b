"""Tools, calls of them and their results, as the agent loop sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Effect = Literal["read", "write", "exec"]
"""What a tool can do to the world: look, change files, or anything at all."""

ToolCategory = Literal["read", "write", "search", "exec", "meta"]
"""What a small model chooses from before it sees any schema."""


ToolChoice = Literal["auto", "required", "none"]
"""Whether the model may, must or must not call one of the tools that it is offered."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as it is offered. `parameters` is the JSON Schema of an object.

    `source` says where it comes from: `built-in`, `library`, or the name of an MCP server. `external`: the
    caller executes it. `stop_after`: a successful result ends the attempt. `exclusive`: it may be called only
    alone. `deferred`: its schema is sent only once it has been asked for. `untimed`: a call has limits of its
    own in the place of the seconds that a call may take. `awaits_barrier`: before it has passed the write
    barrier it does nothing but read.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    effect: Effect
    category: ToolCategory = "meta"
    source: str = "built-in"
    external: bool = False
    stop_after: bool = False
    exclusive: bool = False
    deferred: bool = False
    untimed: bool = False
    awaits_barrier: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `arguments` is None where they are not a JSON object; `fault` then quotes the parser.

    `raw` is the text of the arguments as the model wrote it.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of one call, as the model is told; the times are those of its execution, if any.

    `ran_with` are the arguments with which it was executed, where a hook had rewritten them.
    """

    call_id: str
    name: str
    text: str
    is_error: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ran_with: Mapping[str, Any] | None = None


class ToolError(Exception):
    """A tool could not do what it was asked for; the message is for the model, in one or a few lines."""
