"""Looks at what `hyperguild doctor` reports on hooks; none is run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from hyperguild.cli.diagnosis import Finding
from hyperguild.cli.examine_program import program_finding
from hyperguild.config.configuration import Configuration


def hook_findings(configuration: Configuration, env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield one finding for each hook: whether its program is there."""
    path, folder = env.get("PATH", os.defpath), configuration.path.absolute().parent
    for kind, commands in configuration.hooks.items():
        for hook in commands:
            yield program_finding(f"hook {kind}", hook.argv[0], path, folder)
