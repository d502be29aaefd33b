"""Tools that the caller executes, on the command line: their files, and what is said when a run waits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperguild.attachments import MAX_FILE_BYTES
from hyperguild.domain.records import AwaitingToolsError, RunResult
from hyperguild.domain.tools import ToolResult, ToolSpec
from hyperguild.errors import UsageError
from hyperguild.orchestration.resume import pending_named


def read_external_tools(name: str | None, read_stdin: Callable[[], bytes]) -> tuple[ToolSpec, ...]:
    """Return the tools that a file describes, `-` is standard input; none without a name.

    Raises `UsageError`.
    """
    from hyperguild.requests import external_tools  # noqa: PLC0415  # start-up

    return () if name is None else external_tools(_json_of(name, read_stdin))


def read_tool_results(name: str | None, read_stdin: Callable[[], bytes]) -> tuple[ToolResult, ...]:
    """Return the results in a file, `-` is standard input; none without a name. Raises `UsageError`."""
    from hyperguild.continuing import tool_results  # noqa: PLC0415  # start-up

    return () if name is None else tool_results(_json_of(name, read_stdin))


def awaiting(result: RunResult) -> AwaitingToolsError:
    """Return what the command ends with where a run waits for the results of tools."""
    return AwaitingToolsError(
        f"the run waits for the results of {pending_named(result.pending_tool_calls)}",
        result=result,
        hint=f"hand them in with `hyperguild {going_on_arguments(result)}`",
    )


def going_on_arguments(result: RunResult, *, short: bool = False) -> str:
    """Return the arguments of the command that goes on with a run; `short`: by the end of its id."""
    session = result.session_id[-8:] if short else result.session_id
    results = " --tool-results FILE" if result.status == "awaiting_tools" else ""
    return f"run --session {session} --continue{results}"


def _json_of(name: str, read_stdin: Callable[[], bytes]) -> Any:
    said = "standard input" if name == "-" else name
    try:
        content = read_stdin() if name == "-" else _beginning(Path(name))
        if len(content) > MAX_FILE_BYTES:
            raise UsageError(f"{said} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return json.loads(content)
    except OSError as error:
        raise UsageError(f"cannot read {said}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{said} is not JSON: {error}") from error


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)
