"""The JSON Schema for editors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hyperguild.config.json_schema import chains_json_schema
from hyperguild.config.marks import read_yaml

OWN = Path(__file__).parents[3] / "chains.yaml"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = chains_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_it_accepts_the_repositorys_own_file(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(read_yaml(OWN.read_text()).data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("kind: llama-swap", "kind: llama-swop"),
        ("accept_at: 0.7", "accept_at: 7"),
        ("attempts: 2", "attempts: 0"),
        ("when_cold: wait", "when_warm: wait"),
        ("[phi4, claude-sonnet-4-6]", "[]"),
        ("{judge: qwen3-8b}", "{judge: 8}"),
        ("max_steps: 20", "max_steps: 0"),
        ("max_steps: 20", "max_steps: 1001"),
        ("permission_mode: default", "permission_mode: defualt"),
        ("two_stage: auto", "two_stage: yes"),
        ("compact_at: 70", "compact_at: 0.7"),
        ("tool_timeout_s: 120", "tool_timeout_s: 0"),
        ('ask: ["fs_write(.github/**)"]', "ask: fs_write"),
        ('deny: ["shell(git push:*)"]', "never: [shell]"),
    ],
)
def test_it_refuses_what_loading_refuses(
    validator: jsonschema.Draft202012Validator, old: str, new: str
) -> None:
    text = OWN.read_text()
    assert old in text
    assert not validator.is_valid(read_yaml(text.replace(old, new, 1)).data)


@pytest.mark.parametrize("tools", ["shell", "[]", "['fs_*', shell]", "null"])
def test_tools_are_one_several_none_or_the_skills(
    validator: jsonschema.Draft202012Validator, tools: str
) -> None:
    text = OWN.read_text().replace("max_steps: 20", f"tools: {tools}")
    validator.validate(read_yaml(text).data)


def test_every_key_is_explained(validator: jsonschema.Draft202012Validator) -> None:
    schema: dict[str, Any] = chains_json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert [key for key, entry in every_property(schema) if not entry.get("description")] == []


def every_property(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for definition in (schema, *schema["$defs"].values()):
        yield from definition.get("properties", {}).items()
