"""Looks at what `hyperguild doctor` reports on MCP servers; none is started or asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from hyperguild.adapters.tools.mcp import INSTALL_HINT, is_installed
from hyperguild.cli.diagnosis import Finding, without_secrets
from hyperguild.cli.examine_program import program_finding
from hyperguild.config.configuration import Configuration
from hyperguild.domain.mcp import McpServer


def server_findings(configuration: Configuration, env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield one finding for each server: the extra, then its program and folder, or its address."""
    installed = not configuration.mcp_servers or is_installed()
    for server in configuration.mcp_servers.values():
        area = f"MCP server {server.name}"
        if not installed:
            yield Finding(
                area, "error", "the package mcp, which speaks to it, is not installed", INSTALL_HINT
            )
        elif server.url is not None:
            yield without_secrets(Finding(area, "ok", f"is at {server.url}; not asked"), server.url, env)
        else:
            yield _of_program(area, server, env)


def _of_program(area: str, server: McpServer, env: Mapping[str, str]) -> Finding:
    folder = server.cwd
    if folder is not None and not folder.is_dir():
        return Finding(
            area, "error", f"its folder {folder} is not there", "make it, or correct cwd in chains.yaml"
        )
    path = server.env.get("PATH") or env.get("PATH", os.defpath)
    return program_finding(area, server.argv[0], path, folder)
