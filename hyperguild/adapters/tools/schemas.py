"""How the file tools are offered: short, since small models are sent all of it at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperguild.domain.tools import ToolSpec

_PATH = {"type": "string", "description": "relative to the work directory"}
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 1}
_FLAG = {"type": "boolean"}


def _object(required: tuple[str, ...], properties: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


FS_READ = ToolSpec(
    "fs_read",
    "Read a text file. Long files come in parts: `offset` is the first line, `limit` the number of lines."
    " `numbers` puts the line number before each line.",
    _object(("path",), {"path": _PATH, "offset": _NUMBER, "limit": _NUMBER, "numbers": _FLAG}),
    effect="read",
    category="read",
)
FS_LS = ToolSpec(
    "fs_ls",
    "List a folder: names (`/` marks folders) and sizes.",
    _object((), {"path": _PATH}),
    effect="read",
    category="read",
)
FS_GLOB = ToolSpec(
    "fs_glob",
    "Find files by name, e.g. `src/**/*.py`. A pattern without `/` fits at any depth.",
    _object(("pattern",), {"pattern": _TEXT, "path": _PATH}),
    effect="read",
    category="search",
)
FS_GREP = ToolSpec(
    "fs_grep",
    "Search the lines of files for a regular expression (`(?i)` in front ignores case). `path`: file or"
    " folder; `glob`: only such files; `context`: lines shown around each match.",
    _object(
        ("pattern",),
        {
            "pattern": _TEXT,
            "path": _PATH,
            "glob": _TEXT,
            "context": {"type": "integer", "minimum": 0, "maximum": 10},
        },
    ),
    effect="read",
    category="search",
)
FS_WRITE = ToolSpec(
    "fs_write",
    "Create a file, or replace all of it. Missing folders are made.",
    _object(("path", "content"), {"path": _PATH, "content": _TEXT}),
    effect="write",
    category="write",
    awaits_barrier=True,
)
FS_EDIT = ToolSpec(
    "fs_edit",
    "Replace text in a file. `old` must be copied exactly and occur once, unless `all` is true.",
    _object(("path", "old", "new"), {"path": _PATH, "old": _TEXT, "new": _TEXT, "all": _FLAG}),
    effect="write",
    category="write",
    awaits_barrier=True,
)
