"""The raw form of `redaction`: what is taken out of prompts before they go to a tier that is not local."""

from __future__ import annotations

import re
from typing import Annotated

import regex
from pydantic import AfterValidator, Field

from hyperguild.config.schema_parts import Entry, Flag, Pattern, Text, refused
from hyperguild.domain.redaction import RedactionPattern, RedactionPolicy


def _finds_something(value: str) -> str:
    if regex.search(value, "", regex.MULTILINE) is not None:
        raise refused("must not match the empty text: it would match everywhere")
    return value


def _word(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", value):
        raise refused("must be lower-case letters, digits, - and _, at most 40 of them")
    return value


def _apart(patterns: tuple[NamedPattern, ...]) -> tuple[NamedPattern, ...]:
    names = [pattern.name for pattern in patterns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise refused(f"has two patterns named {twice}")
    return patterns


class NamedPattern(Entry):
    """Something to take out, and what its placeholders are called."""

    name: Annotated[Text, AfterValidator(_word)] = Field(
        description="The word in its placeholders: lower-case letters, digits, - and _."
    )
    regex: Annotated[Pattern, AfterValidator(_finds_something)] = Field(
        description="What is taken out (MULTILINE); of a match with a group named secret, that group."
    )


class Redaction(Entry):
    """What is taken out of prompts that go to tiers which are not local, and put back into answers."""

    secrets: Flag = Field(
        True, description="Whether configured keys, and what looks like a key or password, are taken out."
    )
    patterns: Annotated[tuple[NamedPattern, ...], AfterValidator(_apart)] = Field(
        (), description="What else is taken out."
    )

    def policy(self) -> RedactionPolicy:
        """Return it as it is acted upon."""
        patterns = tuple(RedactionPattern(one.name, one.regex) for one in self.patterns)
        return RedactionPolicy(self.secrets, patterns)
