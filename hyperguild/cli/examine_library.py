"""Looks at whether llama.cpp, where it is installed, can be loaded on this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from hyperguild.adapters.embedded.environment import child_environment
from hyperguild.adapters.embedded.process import how_it_ended, is_installed
from hyperguild.cli.diagnosis import Finding
from hyperguild.domain.text import cleaned, one_line
from hyperguild.programs.run import OutputLimit, ProgramEnd, run_program

IMPORT_LIMIT_S = 30.0
"""Importing takes a fifth of a second; the rest is room for a cold disk and a busy machine."""

FAULT_CHARS = 300


async def library_findings(
    area: str, env: Mapping[str, str], *, limit_s: float = IMPORT_LIMIT_S
) -> list[Finding]:
    """Return an error where llama.cpp is installed and cannot be loaded, else nothing.

    It is imported as a model server does it, in a process of its own: a library that another machine was
    meant for may crash it. That process is killed after `limit_s`, and where the caller is cancelled.
    """
    if not is_installed():
        return []
    fault = await _import_fault(env, limit_s)
    if fault is None:
        return []
    return [
        Finding(
            area,
            "error",
            f"llama.cpp, which runs the models, is installed and cannot be loaded: {fault}",
            "install what it names; else install the library anew: pip install --force-reinstall xllamacpp",
        )
    ]


async def _import_fault(env: Mapping[str, str], limit_s: float) -> str | None:
    try:
        end = await run_program(
            [sys.executable, "-P", "-c", "import xllamacpp"],
            stdin=None,
            folder=Path(),
            environment=child_environment(env),
            timeout_s=limit_s,
            keep=OutputLimit(tail_bytes=4096),
        )
    except OSError as error:  # no processes or descriptors left
        return f"no process could be started: {error.strerror or error}"
    return _fault_of(end, limit_s)


def _fault_of(end: ProgramEnd, limit_s: float) -> str | None:
    if end.exit_code is None:
        return f"it was not done after {limit_s:g} s"
    if end.exit_code < 0:
        return f"the process {how_it_ended(end.exit_code)}"
    if end.exit_code == 0:
        return None
    said = cleaned(end.output.decode("utf-8", "replace")).strip().splitlines()
    return one_line(said[-1], FAULT_CHARS) if said else how_it_ended(end.exit_code)
