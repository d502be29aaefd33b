"""Looks at whether shell commands of models run in a sandbox on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from hyperguild.adapters.tools.sandbox import NoSandbox, find_sandbox
from hyperguild.cli.diagnosis import Finding


async def sandbox_finding(env: Mapping[str, str]) -> Finding:
    """Return whether there is a sandbox that works; that is tried, in five seconds at most."""
    found = await find_sandbox(env)
    if isinstance(found, NoSandbox):
        return Finding("tools", "note", found.line, found.remedy)
    return Finding("tools", "ok", found.line)
