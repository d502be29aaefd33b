"""The types that the schema of chains.yaml is made of: strict scalars, names, short forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import regex
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hyperguild.config.hosts import fault_of_url
from hyperguild.config.wording import is_variable_name

MAX_PATTERN_CHARS = 10_000

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
TEXT_OR_TEXTS = {"anyOf": [TEXT, TEXTS]}


class Entry(BaseModel):
    """The base of every mapping in chains.yaml: frozen, and no key but its own."""

    # Start-up: the file as a whole is built once; its parts need no validators of their own.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def refused(message: str) -> PydanticCustomError:
    """Return the error by which a validator refuses a value; the message ends up in the report as it is."""
    return PydanticCustomError("refused", "{message}", {"message": message})


@dataclass(frozen=True, slots=True, eq=False)
class ShortFor:
    """Marks a mapping that may be written as a bare value, short for the mapping with just `key`."""

    key: str
    accepts: tuple[type, ...]

    def expand(self, value: Any) -> Any:
        """Return the long form of a short one; anything else as it is."""
        return {self.key: value} if isinstance(value, self.accepts) else value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Expand before the mapping is validated."""
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell editors about both forms; the short one is what the key itself takes."""
        long = handler(schema)
        short = handler.resolve_ref_schema(long)["properties"][self.key]
        return {"anyOf": [dict(short), long]}


def one_or_many(value: Any) -> Any:
    """Write a bare text out as the list that it is short for."""
    return [value] if isinstance(value, str) else value


def _name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise refused("must be a name: printable, with no space around it")
    return value


def _endpoint_name(value: str) -> str:
    if "/" in value:
        raise refused("must not hold a slash: NAME/model names a model of the endpoint NAME")
    return _name(value)


def _variable_name(value: str) -> str:
    if not is_variable_name(value):
        raise refused("must be the name of an environment variable, not the key itself")
    return value


def _base_url(value: str) -> str:
    fault = fault_of_url(value)
    if fault is not None:
        raise refused(fault)
    return value.rstrip("/")


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise refused("is not the name of an HTTP header")
    return value


def _header_value(value: str) -> str:
    if not re.fullmatch(r"[ -~]*", value):
        raise refused("must be one line of printable ASCII")
    return value


def _version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        raise refused("must be 1, the version of the format that is read here")
    return value


def _pattern(value: str) -> str:
    try:
        regex.compile(value, regex.MULTILINE)
    except regex.error as exc:
        raise refused(f"is not a regular expression: {exc}") from exc
    except (OverflowError, RecursionError, ValueError) as exc:
        raise refused("is not a regular expression that can be compiled") from exc
    return value


def _schema_source(value: Any) -> Any:
    if isinstance(value, (dict, bool)) or (isinstance(value, str) and value):
        return value
    raise refused("must be the path of a JSON Schema beside chains.yaml, or the schema itself")


Version = Annotated[Literal[1], BeforeValidator(_version)]  # True and 1.0 equal 1, for Literal
MAY_BE_EMPTY = "may_be_empty"
"""Key of the validation context: `SOME` lets empty ones pass once refused entries have been left out."""


def _some(value: Any, info: ValidationInfo) -> Any:
    if not value and not (info.context or {}).get(MAY_BE_EMPTY, False):
        raise PydanticCustomError("too_short", "must not be empty")
    return value


SOME = AfterValidator(_some)
"""Not empty as it was written."""

Text = Annotated[str, Strict(), Field(min_length=1)]
Name = Annotated[str, Strict(), Field(min_length=1, max_length=200), AfterValidator(_name)]
EndpointName = Annotated[str, Strict(), Field(min_length=1, max_length=200), AfterValidator(_endpoint_name)]
VariableName = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_variable_name)]
BaseUrl = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_base_url)]
HeaderName = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_header_name)]
HeaderValue = Annotated[str, Strict(), AfterValidator(_header_value)]
Pattern = Annotated[
    str, Strict(), Field(min_length=1, max_length=MAX_PATTERN_CHARS), AfterValidator(_pattern)
]
WholeNumber = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Seconds = Annotated[float, Strict(), Field(gt=0)]
Dollars = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Argv = Annotated[tuple[Text, ...], Field(min_length=1)]
Names = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    BeforeValidator(one_or_many),
    WithJsonSchema(TEXT_OR_TEXTS),
]
Stops = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(one_or_many),
    WithJsonSchema(TEXT_OR_TEXTS),
]
SchemaSource = Annotated[
    Any,
    AfterValidator(_schema_source),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}, {"type": "boolean"}]}),
]
