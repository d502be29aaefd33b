"""Variants of a test: the telling ones run always, the others with the long tests."""

from typing import Any

import pytest


def mostly_long(*always: Any, long: tuple[Any, ...]) -> list[Any]:
    """Return parameters of which those in `long` are marked as such; several values of one are a tuple."""
    return [*always, *(pytest.param(*_values(one), marks=pytest.mark.long) for one in long)]


def _values(one: Any) -> tuple[Any, ...]:
    return one if isinstance(one, tuple) else (one,)
