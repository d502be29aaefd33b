"""Glob patterns over paths. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

ALTERNATIVES_MAX = 64
"""Patterns that the braces of one may stand for."""

PATTERN_CHARS_MAX = 1_000
_MAGIC = re.compile(r"[*?\[{]")


class GlobError(Exception):
    """The pattern cannot be used; the message says why."""


class Glob:
    """A pattern: `*`, `?` and `[…]` within a name, `**` for any folders, `{a,b}` for either.

    A pattern without a slash fits names at any depth, as in .gitignore. Case counts. Time to match is bounded
    by the product of the lengths.
    """

    def __init__(self, pattern: str) -> None:
        """Raises `GlobError` where it is too long or stands for too many."""
        if len(pattern) > PATTERN_CHARS_MAX:
            raise GlobError(f"the pattern is longer than {PATTERN_CHARS_MAX} characters")
        self._alternatives = [_compiled(alternative) for alternative in _expanded(pattern)]

    def matches(self, parts: Sequence[str]) -> bool:
        """Return whether a path, as its names, fits."""
        return any(_fits(alternative, parts) for alternative in self._alternatives)


def split_start(pattern: str) -> tuple[str, str]:
    """Split a pattern into the folder where all that fits must stand, perhaps empty, and the rest."""
    names = pattern.split("/")
    fixed = next((index for index, name in enumerate(names) if _MAGIC.search(name)), len(names))
    fixed = min(fixed, len(names) - 1)
    start = "/".join(names[:fixed])
    if fixed and not start:
        start = "/"
    # Joined again, a lone last name would be one that fits at any depth.
    rest = names[fixed:]
    return start, "/".join(rest if len(rest) > 1 or not fixed else [".", *rest])


def _expanded(pattern: str) -> list[str]:
    """Return the patterns that the braces stand for; unpaired ones stand for themselves."""
    done: list[str] = []
    todo = [pattern]
    while todo:
        if len(todo) + len(done) > ALTERNATIVES_MAX:
            raise GlobError(f"the braces stand for more than {ALTERNATIVES_MAX} patterns")
        current = todo.pop()
        group = re.search(r"\{([^{}]*,[^{}]*)\}", current)
        if group is None:
            done.append(current)
        else:
            head, tail = current[: group.start()], current[group.end() :]
            todo.extend(head + choice + tail for choice in group[1].split(","))
    return done


def _compiled(pattern: str) -> list[re.Pattern[str] | None]:
    """Return a pattern for each name, None for any number of names."""
    if pattern.endswith("/"):
        pattern += "**"
    names = [name for name in pattern.split("/") if name not in {"", "."}]
    if "/" not in pattern:
        names.insert(0, "**")
    compiled: list[re.Pattern[str] | None] = []
    for name in names:
        if name.startswith("**"):
            if not compiled or compiled[-1] is not None:
                compiled.append(None)
            name = name.lstrip("*")  # noqa: PLW2901  # `**.py` is `**/*.py`
            if not name:
                continue
            name = "*" + name  # noqa: PLW2901
        compiled.append(re.compile(fnmatch.translate(name)))
    return compiled


def _fits(pattern: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> bool:
    """Walk all ways through the pattern at once: `at` holds where in it the names so far may have led."""
    at = _passing({0}, pattern)
    for part in parts:
        reached: set[int] = set()
        for index in at:
            if index == len(pattern):
                continue
            one = pattern[index]
            if one is None:
                reached.add(index)
            elif one.match(part):
                reached.add(index + 1)
        at = _passing(reached, pattern)
        if not at:
            return False
    return len(pattern) in at


def _passing(at: set[int], pattern: Sequence[re.Pattern[str] | None]) -> set[int]:
    """Add the places behind each `**` that may fit no name at all."""
    behind = set(at)
    for index in sorted(at):
        following = index
        while following < len(pattern) and pattern[following] is None:
            following += 1
            behind.add(following)
    return behind
