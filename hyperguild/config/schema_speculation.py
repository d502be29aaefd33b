"""The raw form of `speculate:`: calls that a skill is likely to make."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Self

import regex
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from hyperguild.config.schema_agent import ToolGlob
from hyperguild.config.schema_parts import TEXT, Entry, Pattern, Text, one_or_many, refused

_PLACE = re.compile(r"\{([1-9])\}")
NEVER_EARLY = frozenset({"shell", "delegate"})


class LikelyCall(Entry):
    """A call that is started before the model asks for it, where the task suggests it."""

    when: Annotated[
        tuple[Text, ...],
        BeforeValidator(one_or_many),
        WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}),
    ] = Field((), description="Words of the task, one of which must be there: a word, or a list.")
    match: Pattern | None = Field(None, description="Instead of words: a pattern that the task must hold.")
    tool: ToolGlob = Field(description="The tool: one that only reads, or writes files.")
    arguments: dict[str, Any] = Field(
        {}, description="Its arguments; {1} to {9} in a text stand for what the groups of match found."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if set("*?") & set(self.tool):
            raise refused("must name one tool: a glob cannot be called")
        if self.tool in NEVER_EARLY:
            raise refused(f"{self.tool} is never started before it is asked for")
        if self.when and self.match is not None:
            raise refused("takes when or match, not both")
        groups = 0 if self.match is None else regex.compile(self.match).groups
        named = [int(place) for place in _PLACE.findall(json.dumps(self.arguments))]
        if named and max(named) > groups:
            raise refused(f"the arguments name group {max(named)}, and match has {groups or 'none'}")
        return self
