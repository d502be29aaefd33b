"""C1: the schemas of foreign tools, made fit for every provider and safe to validate with."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperguild.adapters.tools.mcp_schema import SCHEMA_MAX_CHARS, fitted

TEXT = {"type": "string"}


def parameters(schema: dict[str, Any]) -> dict[str, Any]:
    return fitted(schema).parameters


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "string"}, {"$ref": "#"}])
def test_c1_mcp_schema_is_an_object_at_the_top(schema: dict[str, Any]) -> None:
    assert parameters(schema) == {"type": "object", "properties": {}}


def test_c1_mcp_schema_loses_what_only_costs_or_confuses() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "x",
        "title": "EchoArguments",
        "type": "object",
        "properties": {"title": {"title": "Title", "type": "string", "examples": ["a"]}},
        "required": ["title"],
    }
    assert parameters(schema) == {"type": "object", "properties": {"title": TEXT}, "required": ["title"]}


def test_c1_mcp_schema_references_are_replaced_by_what_they_refer_to() -> None:
    schema = {
        "$defs": {"Label": {"type": "object", "properties": {"name": TEXT}}},
        "properties": {
            "labels": {"type": "array", "items": {"$ref": "#/$defs/Label"}},
            "one": {"$ref": "#/$defs/Label", "description": "the first"},
        },
    }
    label = {"type": "object", "properties": {"name": TEXT}}
    assert parameters(schema)["properties"] == {
        "labels": {"type": "array", "items": label},
        "one": {**label, "description": "the first"},
    }


def test_c1_mcp_schema_references_that_recur_or_lead_away_are_cut() -> None:
    schema = {
        "$defs": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
            "Loop": {"allOf": [{"$ref": "#/$defs/Loop"}]},
        },
        "properties": {
            "node": {"$ref": "#/$defs/Node"},
            "loop": {"$ref": "#/$defs/Loop"},
            "away": {"$ref": "http://127.0.0.1:9/schema.json", "description": "d"},
            "missing": {"$ref": "#/$defs/None"},
        },
    }
    found = parameters(schema)
    assert "$ref" not in json.dumps(found)
    assert found["properties"]["node"] == {"type": "object", "properties": {"next": {}}}
    assert found["properties"]["away"] == {"description": "d"}
    jsonschema.validate({"node": {"next": 1}, "loop": 1, "away": 2, "missing": 3}, found)


def test_c1_mcp_schema_choices_at_the_top_are_folded_into_the_object() -> None:
    schema = {
        "type": "object",
        "properties": {"id": TEXT},
        "required": ["id"],
        "additionalProperties": False,
        "oneOf": [
            {"properties": {"url": TEXT}, "required": ["url"], "additionalProperties": False},
            {"properties": {"path": TEXT}, "required": ["path"]},
        ],
    }
    found = parameters(schema)
    assert set(found["properties"]) == {"id", "url", "path"}
    assert found["required"] == ["id"]
    assert not {"oneOf", "anyOf", "allOf", "additionalProperties"} & set(found)


def test_c1_mcp_schema_parts_that_must_all_hold_keep_what_they_require() -> None:
    found = parameters(
        {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}}]}
    )
    assert found == {"type": "object", "properties": {"b": TEXT, "a": TEXT}, "required": ["a"]}


def test_c1_mcp_schema_patterns_are_told_and_not_enforced() -> None:
    found = parameters(
        {"properties": {"sha": {"type": "string", "description": "A commit", "pattern": "(a+)+$"}}}
    )
    assert found["properties"]["sha"] == {"type": "string", "description": "A commit (pattern: (a+)+$)"}


def test_c1_mcp_schema_names_that_a_provider_refuses_are_changed_and_changed_back() -> None:
    found = fitted({"properties": {"$top": {"type": "integer"}, "_top": TEXT}, "required": ["$top"]})
    assert set(found.parameters["properties"]) == {"_top_", "_top"}
    assert found.parameters["required"] == ["_top_"]
    assert found.restored({"_top_": 3, "_top": "x"}) == {"$top": 3, "_top": "x"}


def test_c1_mcp_schema_descriptions_are_cleaned_and_bounded() -> None:
    text = "Name\x1b[31m\u202e\U000e0041 of\nit. " + "x" * 5_000
    found = parameters({"properties": {"name": {"description": text}}})["properties"]["name"]["description"]
    assert found.startswith("Name of it. xxx")
    assert len(found) == 300


def test_c1_mcp_schema_size_is_bounded_and_names_survive_longest() -> None:
    deep: dict[str, Any] = {"type": "string", "description": "d" * 300}
    for _ in range(4):
        deep = {"type": "object", "properties": {f"p{n}": deep for n in range(5)}}
    found = parameters({"properties": {"deep": deep, "flat": TEXT}, "required": ["flat"]})
    assert len(json.dumps(found)) <= SCHEMA_MAX_CHARS
    assert found["properties"]["flat"] == TEXT
    assert found["properties"]["deep"]["type"] == "object"


def test_c1_mcp_schema_that_doubles_at_every_reference_ends() -> None:
    defs = {f"d{n}": {"prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    found = parameters({"$defs": defs, "properties": {"bomb": {"$ref": "#/$defs/d0"}, "name": TEXT}})
    assert len(json.dumps(found)) <= SCHEMA_MAX_CHARS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "properties", "items", "anyOf", "oneOf", "allOf", "required", "enum", "$ref"),
                    *("additionalProperties", "prefixItems", "minimum", "maxLength", "format", "pattern"),
                    *("description", "uniqueItems", "patternProperties", "$defs", "not", "$x"),
                ]
            ),
            inner | st.sampled_from(["object", "string", "#", "#/properties/type", "#/$defs/0", "http://x"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=40)  # a schema is validated whole each time
@given(schema=st.dictionaries(st.sampled_from(["type", "properties", "allOf", "$defs", "anyOf"]), JSON))
def test_c1_mcp_schema_is_valid_and_closed_whatever_a_server_sends(schema: dict[str, Any]) -> None:
    found = parameters(schema)
    assert found["type"] == "object"
    assert set(found) <= {"type", "properties", "required", "additionalProperties"}
    validator = jsonschema.Draft202012Validator(found)
    validator.check_schema(found)
    list(validator.iter_errors({"type": 1, "items": {"a": [1]}, "x": None}))  # terminates, fetches nothing
