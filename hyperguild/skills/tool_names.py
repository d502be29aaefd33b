"""What other agents call a tool, and what it is called here. Pure."""

from __future__ import annotations

import re
from typing import Final

DELEGATE: Final = "delegate"
NATIVE_TOOLS: Final = frozenset(
    {"fs_read", "fs_ls", "fs_glob", "fs_grep", "fs_write", "fs_edit", "shell", DELEGATE}
)
"""The built-in tools."""

_SPELLINGS: Final = {
    "fs_read": ("fs_read", "Read", "read_file", "read_many_files", "view", "view_file", "open_file", "cat"),
    "fs_write": ("fs_write", "Write", "write_file", "write_to_file", "create_file"),
    "fs_edit": (
        "fs_edit",
        "Edit",
        "MultiEdit",
        "edit_file",
        "apply_patch",
        "str_replace",
        "replace",
        "replace_in_file",
        "search_replace",
    ),
    "fs_grep": ("fs_grep", "Grep", "grep_search", "search_files", "search_file_content"),
    "fs_glob": ("fs_glob", "Glob", "file_search", "find_files", "glob_file_search"),
    "fs_ls": ("fs_ls", "LS", "list", "list_dir", "list_directory", "list_files"),
    "shell": (
        "shell",
        "Bash",
        "sh",
        "terminal",
        "execute_command",
        "run_command",
        "run_in_terminal",
        "run_shell_command",
        "run_terminal_cmd",
    ),
}

_MCP = re.compile(r"mcp__(?P<server>.+?)(?:__(?P<tool>.+))?", re.DOTALL)


def _folded(name: str) -> str:
    """`read_file`, `readFile` and `ReadFile` are one spelling."""
    return re.sub(r"[_-]", "", name).lower()


_NATIVE_BY_SPELLING: Final = {
    _folded(spelling): native for native, spellings in _SPELLINGS.items() for spelling in spellings
}


def native_tool_name(name: str) -> str:
    """Return this program's name of the tool that another agent calls `name`.

    Case, `_` and `-` do not matter. `mcp__SERVER__TOOL` is `SERVER_TOOL`, and `mcp__SERVER`, which means
    every tool of that server, is the glob `SERVER_*`. A name that is not known comes back unchanged.
    """
    known = _NATIVE_BY_SPELLING.get(_folded(name))
    if known is not None:
        return known
    mcp = _MCP.fullmatch(name)
    return f"{mcp['server']}_{mcp['tool'] or '*'}" if mcp else name
