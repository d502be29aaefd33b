"""The raw form of `mcp_servers:`. Each description becomes the help that editors show."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema, model_validator

from hyperguild.config.hosts import fault_of_url
from hyperguild.config.schema_parts import (
    TEXT,
    Argv,
    Entry,
    HeaderName,
    HeaderValue,
    Seconds,
    Text,
    VariableName,
    one_or_many,
    refused,
)
from hyperguild.domain.tools import ToolCategory

MAX_NAME_CHARS = 40
"""Providers take 64 characters for the name of a tool; the server's own name for it needs room, too."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SOURCES = frozenset({"built-in", "library"})
"""What `ToolSpec.source` says of tools that are no server's."""


def _server_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise refused("must be a name of letters, digits, _ and -: its tools are called NAME_tool")
    if value in _SOURCES or value == "fs" or value.startswith("fs_"):
        raise refused("is a name that built-in tools have; choose another one")
    return value


def _url(value: str) -> str:
    fault = fault_of_url(value)
    if fault is not None:
        raise refused(fault)
    return value


def _variable_value(value: str) -> str:
    if "\0" in value:
        raise refused("must not hold a NUL character")
    return value


ServerName = Annotated[
    str, Strict(), Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_server_name)
]
_Url = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_url)]
_VariableValue = Annotated[str, Strict(), AfterValidator(_variable_value)]
_Globs = Annotated[
    tuple[Text, ...],
    BeforeValidator(one_or_many),
    WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}),
]


def _which(value: Any) -> Any:
    """Write `true`, all tools, and `false`, none, out as globs."""
    return (["*"] if value else []) if isinstance(value, bool) else one_or_many(value)


_WhichGlobs = Annotated[
    tuple[Text, ...],
    BeforeValidator(_which),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, TEXT, {"type": "array", "items": TEXT}]}),
]


class McpServer(Entry):
    """A server of the Model Context Protocol: a program (argv) or an address (url), exactly one.

    Needs the extra hyperguild[mcp].
    """

    argv: Argv | None = Field(
        None, description="The program and its arguments, as a list; it is spoken to on stdin and stdout."
    )
    env: dict[VariableName, _VariableValue] | None = Field(
        None, description="Environment variables for the program; secrets only as ${VAR}."
    )
    cwd: Text | None = Field(
        None, description="The folder that the program runs in; that of chains.yaml, if not given."
    )
    url: _Url | None = Field(None, description="Where it is: http(s)://HOST[:PORT][/PATH]. May hold ${VAR}.")
    headers: dict[HeaderName, HeaderValue] | None = Field(
        None, description="HTTP headers sent with every request; secrets only as ${VAR}."
    )
    category: ToolCategory = Field(
        "meta", description="Where its tools stand when a small model first picks a kind of tools."
    )
    read_only: _Globs = Field(
        (), description="Its tools that change nothing, by its own names: a glob, or a list. Trust decides."
    )
    tools: _Globs | None = Field(
        None, description="Its tools that are offered, by its own names: a glob, or a list; null: all."
    )
    deferred: _WhichGlobs = Field(
        (), description="Its tools that a model first sees by name alone, and loads: true, a glob, or a list."
    )
    timeout_s: Seconds = Field(60.0, description="Seconds that one call may take.")
    start_timeout_s: Seconds = Field(30.0, description="Seconds to start it and list its tools.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.argv is None and self.url is None:
            raise refused("needs argv (a program) or url (an address)")
        if self.argv is not None and self.url is not None:
            raise refused("has argv and url; keep one of them")
        stray = [name for name in ("env", "cwd") if self.url is not None and getattr(self, name) is not None]
        if stray:
            raise refused(f"has {' and '.join(stray)}, which only a program (argv) can have")
        if self.argv is not None and self.headers is not None:
            raise refused("has headers, which only an address (url) can have")
        return self
