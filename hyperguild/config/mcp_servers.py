"""`mcp_servers` of the raw file as the servers that are used."""

from __future__ import annotations

from pathlib import Path

from hyperguild.config import schema, schema_mcp
from hyperguild.config.locate import path_beside
from hyperguild.domain.mcp import McpServer


def resolve_servers(raw: schema.ChainsFile, folder: Path, home: Path | None) -> dict[str, McpServer]:
    """Return the servers by name. A program runs in `folder`, that of chains.yaml, unless `cwd` says else."""
    return {name: _server(name, server, folder, home) for name, server in (raw.mcp_servers or {}).items()}


def _server(name: str, raw: schema_mcp.McpServer, folder: Path, home: Path | None) -> McpServer:
    return McpServer(
        name=name,
        argv=raw.argv or (),
        env=dict(raw.env or {}),
        cwd=None if raw.argv is None else path_beside(raw.cwd or ".", folder, home),
        url=raw.url,
        headers=dict(raw.headers or {}),
        category=raw.category,
        read_only=raw.read_only,
        tools=raw.tools,
        deferred=raw.deferred,
        timeout_s=raw.timeout_s,
        start_timeout_s=raw.start_timeout_s,
    )
