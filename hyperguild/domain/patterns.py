"""Regular expressions that are compiled when they are first used: most commands use few of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

LazyPattern = Callable[[], re.Pattern[str]]
"""Returns its pattern, always the same one."""


def lazy(source: str) -> LazyPattern:
    """Return the regular expression, to be compiled by the first call."""
    return functools.cache(lambda: re.compile(source))
