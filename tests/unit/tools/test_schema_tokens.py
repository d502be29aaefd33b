"""E1, measured: what two-stage tools save of the schemas that a small model reads at every step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from mcp_support import official, opened

from hyperguild.adapters.tools.files import file_tools
from hyperguild.adapters.tools.roots import Roots
from hyperguild.adapters.tools.sandbox import Bounds, NoSandbox
from hyperguild.adapters.tools.shell import ShellTool
from hyperguild.agent.gauge import schema_text
from hyperguild.agent.routing import SELECT, ToolRouting
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.domain.usage import CHARS_PER_TOKEN


def catalogue(folder: Path) -> tuple[ToolSpec, ...]:
    """The built-in tools."""
    shell = ShellTool(Bounds(folder), NoSandbox("not looked for", ""), os.environ)
    return (*(tool.spec for tool in file_tools(Roots(folder))), shell.spec)


def tokens(tools: Sequence[ToolSpec]) -> int:
    return len(schema_text(tools)) // CHARS_PER_TOKEN


def second_stages(specs: Sequence[ToolSpec]) -> dict[str, int]:
    """Return the tokens of the schemas in the second stage, by category."""
    found: dict[str, int] = {}
    routing = ToolRouting(specs, two_stage=True)
    for category in routing.categories:
        routing.select(ToolCall("c", SELECT, {"category": category}))
        found[category] = tokens(routing.offer()[0])
    return found


def test_e1_the_first_stage_saves_most_of_the_built_in_schemas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = catalogue(tmp_path)
    assert len(specs) == 7
    first = tokens(ToolRouting(specs, two_stage=True).offer()[0])
    whole, later = tokens(specs), second_stages(specs)
    with capsys.disabled():
        print(f"\nbuilt-in catalogue: {whole} tokens of schemas; first stage {first}, then {later}")  # noqa: T201
    assert first <= 0.4 * whole
    assert max(later.values()) < whole


async def test_e1_thirty_tools_of_a_server_cost_a_thousand_tokens_less_at_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(official("host", "many")) as (tools, _):
        specs = (*catalogue(tmp_path), *(each.spec for each in await tools.tools()))
    assert len(specs) == 37
    first = tokens(ToolRouting(specs, two_stage=True).offer()[0])
    whole, later = tokens(specs), second_stages(specs)
    with capsys.disabled():
        print(f"\nwith 30 MCP tools: {whole} tokens of schemas; first stage {first}, then {later}")  # noqa: T201
    assert whole - first >= 1000
    assert all(whole - used >= 1000 for category, used in later.items() if category != "meta")
