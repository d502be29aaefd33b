"""Other agents' tool names."""

import pytest

from hyperguild.skills.tool_names import NATIVE_TOOLS, native_tool_name


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("Read", "fs_read"),
        ("read_file", "fs_read"),
        ("readFile", "fs_read"),
        ("Write", "fs_write"),
        ("Edit", "fs_edit"),
        ("MultiEdit", "fs_edit"),
        ("Grep", "fs_grep"),
        ("Glob", "fs_glob"),
        ("LS", "fs_ls"),
        ("Bash", "shell"),
        ("run_shell_command", "shell"),
        ("mcp__git-hub__get_issue", "git-hub_get_issue"),
        ("mcp__db", "db_*"),
        ("mcp__db__*", "db_*"),
        ("WebFetch", "WebFetch"),
        ("", ""),
    ],
)
def test_maps_a_name_to_ours(name: str, native: str) -> None:
    assert native_tool_name(name) == native


def test_our_own_names_stay() -> None:
    assert {native_tool_name(name) for name in NATIVE_TOOLS} == NATIVE_TOOLS
