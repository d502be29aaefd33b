"""The files beside chains.yaml that it runs: what is written into them would run at the next occasion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import CommandCheck


def program_files(configuration: Configuration) -> tuple[Path, ...]:
    """Return the files that its commands name: programs, and scripts or settings among their arguments.

    Of hooks, checks, `command` endpoints, `api_key_cmd` and MCP servers; absolute, links followed. Only what
    is a file now: looks for each word of each command.
    """
    found: dict[Path, None] = {}
    for argv, folder in _commands(configuration):
        for position, word in enumerate(argv):
            if position == 0 and "/" not in word:
                continue  # found along PATH
            try:
                path = (folder / word).resolve()
                is_file = path.is_file()
            except (OSError, ValueError):  # a text that is no path
                continue
            if is_file:
                found[path] = None
    return tuple(found)


def _commands(configuration: Configuration) -> Iterator[tuple[Sequence[str], Path]]:
    """Yield each command with the folder in which it runs."""
    here, place = Path.cwd(), configuration.path.absolute().parent
    for hooks in configuration.hooks.values():
        for hook in hooks:
            yield hook.argv, place
    for verifier in configuration.verifiers.values():
        for check in verifier.checks:
            if isinstance(check, CommandCheck):
                yield check.argv, check.folder
    for endpoint in configuration.endpoints.values():
        yield endpoint.argv, here
        if endpoint.key is not None and endpoint.key.command is not None:
            yield endpoint.key.command, here
    for server in configuration.mcp_servers.values():
        yield server.argv, server.cwd or here
