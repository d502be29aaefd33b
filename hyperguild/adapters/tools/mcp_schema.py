"""Makes the input schemas of foreign tools fit for every provider, and safe to validate with. Pure.

Providers refuse a whole request for one schema that they do not like (Anthropic: combinations at the top,
property names; llama.cpp: patterns that are not anchored), and a validator follows what a schema refers to.
So only a known vocabulary is kept. What is left out only loosens the schema: the server checks its arguments
itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from hyperguild.domain.text import one_line

SCHEMA_MAX_CHARS = 16_384
"""Of JSON. A larger schema loses its depths first, then its descriptions, then all but its first names."""

DESCRIPTION_MAX_CHARS = 300
"""Of one property."""

_DEPTHS = (12, 3, 1)
_REFERENCES_MAX = 20
_NODES_MAX = 2_000
_PROPERTIES_MAX = 200
_KEY_MAX_CHARS = 64
_KEY_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")  # Anthropic refuses any other character
_COMBINATIONS = ("allOf", "anyOf", "oneOf")
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FittedSchema:
    """A schema to offer. `renamed` maps the property names that had to be changed to the server's own."""

    parameters: Schema
    renamed: Mapping[str, str] = field(default_factory=dict)

    def restored(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call under the names that the server knows."""
        return {self.renamed.get(name, name): value for name, value in arguments.items()}


def fitted(schema: Mapping[str, Any]) -> FittedSchema:
    """Return an object schema without references, combinations at its top, or unknown keywords."""
    for depth in _DEPTHS:
        found = _Fitting(schema, depth, describe=depth == _DEPTHS[0]).fit()
        if len(json.dumps(found.parameters, ensure_ascii=False)) <= SCHEMA_MAX_CHARS and _is_valid(found):
            return found
    return FittedSchema({"type": "object", "properties": {}})


def _is_valid(found: FittedSchema) -> bool:
    try:
        jsonschema.Draft202012Validator.check_schema(found.parameters)
    except jsonschema.SchemaError:
        return False
    return True


class _Fitting:
    """One pass over a schema; references are replaced by what they refer to, and cut where they recur."""

    def __init__(self, root: Mapping[str, Any], depth: int, *, describe: bool) -> None:
        self._root = root
        self._depth = depth
        self._describe = describe
        self._nodes = 0

    def fit(self) -> FittedSchema:
        top = _folded(self._clean(self._root, 0, ()))
        properties, renamed = {}, {}
        for name, value in top.get("properties", {}).items():
            fit_name = _KEY_UNFIT.sub("_", name)[:_KEY_MAX_CHARS] or "_"
            if fit_name != name:
                while fit_name in top["properties"] or fit_name in renamed:
                    fit_name = f"{fit_name[: _KEY_MAX_CHARS - 1]}_"
                renamed[fit_name] = name
            properties[fit_name] = value
        shown = {original: fit_name for fit_name, original in renamed.items()}
        required = [shown.get(name, name) for name in top.get("required", ())]
        parameters: Schema = {"type": "object", "properties": properties}
        if required := [name for name in required if name in properties]:
            parameters["required"] = required
        if "additionalProperties" in top:
            parameters["additionalProperties"] = top["additionalProperties"]
        return FittedSchema(parameters, renamed)

    def _clean(self, node: Any, depth: int, trail: tuple[str, ...]) -> Schema:
        self._nodes += 1
        if not isinstance(node, Mapping) or self._nodes > _NODES_MAX:
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._referred(node, reference, depth, trail)
        found = _plain_keywords(node, describe=self._describe)
        if depth < self._depth:
            for keyword, clean in self._NESTED.items():
                if keyword in node and (value := clean(self, node[keyword], depth + 1, trail)) is not None:
                    found["anyOf" if keyword == "oneOf" else keyword] = value  # loosened arms may overlap
            if "patternProperties" in node:
                found.pop("additionalProperties", None)  # it would forbid what those allow
        return found

    def _referred(
        self, node: Mapping[str, Any], reference: str, depth: int, trail: tuple[str, ...]
    ) -> Schema:
        beside = _plain_keywords({"description": node.get("description")}, describe=self._describe)
        seen = reference in trail or len(trail) >= _REFERENCES_MAX
        target = None if seen else _pointed(self._root, reference)
        if target is None:
            return beside
        return {**self._clean(target, depth, (*trail, reference)), **beside}

    def _by_name(self, value: Any, depth: int, trail: tuple[str, ...]) -> Schema | None:
        if not isinstance(value, Mapping):
            return None
        names = [name for name in value if isinstance(name, str)][:_PROPERTIES_MAX]
        return {name: self._clean(value[name], depth, trail) for name in names}

    def _one(self, value: Any, depth: int, trail: tuple[str, ...]) -> Schema | bool | None:
        if isinstance(value, bool):
            return value
        return self._clean(value, depth, trail) if isinstance(value, Mapping) else None

    def _several(self, value: Any, depth: int, trail: tuple[str, ...]) -> list[Schema] | None:
        if not isinstance(value, list) or not value:
            return None
        return [self._clean(each, depth, trail) for each in value]

    _NESTED: Mapping[str, Callable[[_Fitting, Any, int, tuple[str, ...]], Any]] = {
        "properties": _by_name,
        "additionalProperties": _one,
        "items": _one,
        "prefixItems": _several,
        "allOf": _several,
        "oneOf": _several,
        "anyOf": _several,
    }


def _plain_keywords(node: Mapping[str, Any], *, describe: bool) -> Schema:
    """Return the keywords of one level that hold no schemas, as far as they are well formed."""
    found: Schema = {}
    kind = node.get("type")
    kinds = [each for each in _names(kind if isinstance(kind, list) else [kind]) if each in _TYPES]
    if kinds:
        found["type"] = kinds if len(kinds) > 1 else kinds[0]
    if describe and (text := _description(node)):
        found["description"] = text
    if isinstance(node.get("enum"), list) and node["enum"]:
        found["enum"] = node["enum"]
    found |= {key: node[key] for key in ("const", "default") if key in node}
    found |= {key: node[key] for key in _NUMBERS if _is_number(node.get(key))}
    found |= {key: node[key] for key in _COUNTS if isinstance(node.get(key), int) and _is_number(node[key])}
    if isinstance(node.get("format"), str):
        found["format"] = one_line(node["format"], 40)
    if node.get("uniqueItems") is True:
        found["uniqueItems"] = True
    if names := _names(node.get("required")):
        found["required"] = names
    return found


def _description(node: Mapping[str, Any]) -> str:
    text, pattern = node.get("description"), node.get("pattern")
    parts = [text] if isinstance(text, str) else []
    if isinstance(pattern, str):  # told, not enforced: a foreign expression can take for ever
        parts.append(f"(pattern: {pattern})")
    return one_line(" ".join(parts), DESCRIPTION_MAX_CHARS)


def _folded(schema: Schema) -> Schema:
    """Fold the combinations at the top into the object itself: all their properties, none of the choice."""
    top = dict(schema)
    for keyword in _COMBINATIONS:
        for arm in top.pop(keyword, ()):
            folded = _folded(arm)
            top["properties"] = {**folded.get("properties", {}), **top.get("properties", {})}
            if keyword == "allOf":
                top["required"] = list(dict.fromkeys([*top.get("required", ()), *folded.get("required", ())]))
            if "additionalProperties" in folded:
                top.pop("additionalProperties", None)  # the arms were never closed together
    return top


def _pointed(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference within the document points to; None for all others."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    node: Any = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, Sequence) and not isinstance(node, str) and key.isdecimal():
            node = node[int(key)] if int(key) < len(node) else None
        else:
            return None
    return node


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(value: Any) -> list[str]:
    named = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
    return list(dict.fromkeys(named))
