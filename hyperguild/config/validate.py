"""The schema's errors as problems for people: each once, and all of them in one go."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hyperguild.config.report import Report
from hyperguild.config.schema import ChainsFile, Endpoint
from hyperguild.config.schema_hooks import StepHook, ToolHook
from hyperguild.config.schema_parts import MAY_BE_EMPTY
from hyperguild.config.wording import DocumentPath, did_you_mean, is_name_for_key, listed
from hyperguild.domain.text import nearest

_IN_CLEAR = (
    "a secret in clear is refused; put it into the environment and name the variable: api_key_env: NAME "
    "(or api_key_file, api_key_cmd), on the endpoint"
)
_IN_CLEAR_TO_SERVER = (
    "a secret in clear is refused; put it into the environment and write ${VAR}, in env or headers"
)
_WORDS = {
    "string_type": "must be text; quote it if it looks like a number or a word such as yes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
}
_BOUNDS = (
    ("ge", "must be at least {}"),
    ("gt", "must be more than {}"),
    ("le", "must be at most {}"),
    ("lt", "must be less than {}"),
)


def validate(report: Report) -> ChainsFile | None:
    """Validate the document; report every error, leave out what it is about, and return what holds.

    None where too little is left. What depends on a part that was left out is the caller's to keep quiet
    about (`Report.is_damaged`).
    """
    looked = False
    while True:
        try:
            return ChainsFile.model_validate(report.usable(), context={MAY_BE_EMPTY: looked})
        except ValidationError as exc:
            errors = exc.errors(include_url=False)
        refusals = [_Refusal(error) for error in errors]
        # A list is too short for the schema where one of its items is refused: the list itself stays.
        lost = [one for one in refusals if not any(one.is_short_for(other) for other in refusals)]
        for refusal in lost:
            if not any(refusal.is_missing_for(other) for other in lost):
                report.add(refusal.path, refusal.message, at_key=refusal.at_key)
        if any(refusal.loses == () for refusal in lost):
            return None
        report.drop_all(refusal.loses for refusal in lost)
        looked = True


class _Refusal:
    """One error of the schema: where, in words, and what is lost by it."""

    def __init__(self, error: ErrorDetails) -> None:
        kind, loc = error["type"], error["loc"]
        self._kind = kind
        self.path = self.loses = _untagged(loc)
        self.at_key = kind == "extra_forbidden" or loc[-1:] == ("[key]",)
        if loc[-1:] == ("[key]",):
            self.path = self.loses = self.path[:-1]
        elif kind == "missing":
            self.loses = self.path[:-1]
        elif kind in {"union_tag_invalid", "union_tag_not_found"}:
            self.path = (*self.path, "kind")
        self.message = _message(error)
        self.meant = (*self.path[:-1], *_nearest_key(error["loc"])) if kind == "extra_forbidden" else ()

    def is_missing_for(self, other: _Refusal) -> bool:
        """Tell whether this is a missing key because the other is that key, misspelt."""
        return self._kind == "missing" and self.path == other.meant

    def is_short_for(self, other: _Refusal) -> bool:
        """Tell whether this is a list that is too short because of the other, an item of it."""
        size = len(self.path)
        return self._kind == "too_short" and len(other.path) > size and other.path[:size] == self.path


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"])
    if kind == "literal_error":
        return _not_one_of(_expected(context["expected"]), error["input"])
    if kind == "union_tag_invalid":
        return _not_one_of(_expected(context["expected_tags"]), context["tag"])
    if kind == "union_tag_not_found":
        return "required, as text"
    if kind == "model_type" and context.get("class_name") == "Tier":
        return "must be the name of a model, or a mapping"
    if kind == "model_type" and context.get("class_name") in {"Chain", "Judge"}:
        return "must be a list of models, or a mapping"
    if kind == "model_type" and context.get("class_name") in {"ToolHook", "StepHook"}:
        return "must be a list (the program and its arguments), or a mapping"
    for bound, words in _BOUNDS:
        if bound in context:
            return words.format(f"{context[bound]:g}")
    return _WORDS.get(kind) or _by_size(kind, context)


def _by_size(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "missing":
        return "required"
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty"
    if kind == "string_too_long":
        return f"must not be longer than {context['max_length']} characters"
    return str(context.get("message", "is not a value that is read here"))


def _expected(words: str) -> list[str]:
    return re.findall(r"'([^']*)'", words) or [words]


def _not_one_of(expected: list[str], given: Any) -> str:
    hint = did_you_mean(given, expected) if isinstance(given, str) else ""
    return f"must be {listed(expected)}{hint}"


def _unknown_key(loc: tuple[int | str, ...]) -> str:
    name = str(loc[-1])
    before_colon = name.partition(":")[0]  # `{api_key:sk-…}` is one key, without the space
    if is_name_for_key(before_colon) and loc[0] != "redaction":  # which is about secrets, and has none
        return _IN_CLEAR_TO_SERVER if loc[0] == "mcp_servers" else _IN_CLEAR
    if loc[0] == "endpoints" and name in _endpoint_keys():
        return f"is not a key of kind {loc[2]}"
    if len(loc) > 2 and loc[0] == "hooks" and name in _hook_keys():
        return f"is not a key of {loc[1]} hooks"
    return f"unknown key{did_you_mean(name, _keys_at(loc[:-1]))}"


def _nearest_key(loc: DocumentPath) -> list[str]:
    near = nearest(str(loc[-1]), _keys_at(loc[:-1]))
    return [] if near is None else [near]


def _keys_at(loc: DocumentPath) -> list[str]:
    return [info.alias or name for name, info in _model_at(loc).model_fields.items()]


def _endpoint_keys() -> set[str]:
    """Return the keys that an endpoint of some kind has."""
    return {name for model in _models_in(Endpoint) for name in model.model_fields}


def _hook_keys() -> set[str]:
    """Return the keys that a hook of some kind has."""
    return {*ToolHook.model_fields, *StepHook.model_fields}


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of the mapping at a place of the schema; `loc` is pydantic's, with tags of unions."""
    here: Any = ChainsFile
    for part in loc:
        models = _models_in(here)
        if len(models) > 1:
            here = next(model for model in models if part in get_args(model.model_fields["kind"].annotation))
        elif models:
            (model,) = models
            here = next(
                info.annotation for name, info in model.model_fields.items() if part in {name, info.alias}
            )
        else:
            here = _item_of(here)
    return _models_in(here)[0]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that the annotation names by itself: one, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models_in(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [model for member in get_args(annotation) for model in _models_in(member)]
    return []


def _item_of(annotation: Any) -> Any:
    """Return what a dict or tuple holds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated or origin in {Union, types.UnionType}:
        return _item_of(arguments[0])
    return arguments[1] if origin is dict else arguments[0]


def _untagged(loc: DocumentPath) -> DocumentPath:
    """Return the path without the tags of unions, which pydantic puts after an endpoint and a check."""
    if loc[:1] == ("endpoints",):
        return loc[:2] + loc[3:] if len(loc) > 2 and loc[2] != "[key]" else loc
    if loc[:1] == ("verifiers",) and loc[2:3] == ("checks",):
        return loc[:4] + loc[5:]
    return loc
