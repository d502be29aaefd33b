"""What a caller chose is the same request after it was put on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import chain

from hyperguild.domain.tools import ToolSpec
from hyperguild.errors import UsageError
from hyperguild.requests import (
    ChainOptions,
    ToolOptions,
    external_tools,
    recorded,
    recorded_chain_options,
    recorded_tool_options,
    work_order,
)
from hyperguild.skills.manifest import Skill, read_skill

ASK = ToolSpec(
    "ask", "Asks.", {"type": "object", "properties": {"q": {}}}, "exec", source="caller", external=True
)
EVERY_CHAIN_OPTION = ChainOptions("careful", "phi4", True, 0.5, 60.0, "qwen")
EVERY_TOOL_OPTION = ToolOptions(Path("work"), (Path("open"), Path("/abs")), ("fs_*", "shell"), "plan")


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    folder = tmp_path / "skills" / "mend"
    folder.mkdir(parents=True)
    text = "---\nname: mend\ndescription: Mends.\nallowed-tools: Read Bash(git:*)\n---\nMend it.\n"
    (folder / "SKILL.md").write_text(text, encoding="utf-8")
    return read_skill(folder, tmp_path)


@pytest.mark.parametrize("options", [ChainOptions(), EVERY_CHAIN_OPTION])
def test_h2_options_of_the_chain_come_back(options: ChainOptions) -> None:
    record = json.loads(json.dumps(recorded(options, None, (ASK,))))
    assert recorded_chain_options(record) == options
    assert recorded_tool_options(record) is None
    assert external_tools(record["external_tools"]) == (ASK,)


@pytest.mark.parametrize("name", ["fs_read", "shell", "delegate", "select_category", "load_tools"])
def test_c9_an_external_tool_cannot_bear_the_name_of_ours(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is the name of a built-in tool"):
        external_tools([{"name": name, "description": "Asks.", "parameters": {"type": "object"}}])


@pytest.mark.parametrize("options", [EVERY_TOOL_OPTION, ToolOptions(workdir=Path())])
def test_h2_the_same_tools_work_in_the_same_place_wherever_it_goes_on(
    skill: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: ToolOptions
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    order = work_order(skill, chain(), options, tmp_path)
    assert order is not None
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = recorded_tool_options(json.loads(json.dumps(recorded(ChainOptions(), order))))
    assert again is not None
    assert work_order(skill, chain(), again, Path.cwd()) == order


@pytest.mark.parametrize(
    "record", [{}, {"chain": None}, {"chain": {}, "tools": {"workdir": 1}}, {"chain": {}, "tools": 7}]
)
def test_h2_what_nobody_recorded_so_is_refused(record: dict[str, Any]) -> None:
    read = recorded_tool_options if record.get("chain") == {} else recorded_chain_options
    with pytest.raises(UsageError, match="cannot be read"):
        read(record)


def test_h2_options_of_a_later_version_are_passed_over() -> None:
    assert recorded_chain_options({"chain": {"local": True, "new": 1}}) == ChainOptions(local=True)
