"""What a verifier is told of an attempt's changes."""

from hyperguild.agent.changes import Changes
from hyperguild.domain.tools import ToolCall, ToolResult


def test_one_file_under_two_spellings_is_one_file() -> None:
    changes = Changes()
    for path in ("a.py", "./a.py", "src/../a.py", "b.py"):
        call = ToolCall("1", "fs_write", {"path": path})
        changes.take(call, ToolResult("1", "fs_write", "written"), "write")
    assert changes.summary() == "Files written: a.py (3×), b.py"
