"""Words of which parts are open, and the names that they could become. Pure."""

from __future__ import annotations

from typing import Final

from hyperguild.agent.shell_words import WILD

ANY_NAME: Final = "\ufffe"
"""At the head of a name: it has some stem, whichever (the one of `*.pem`)."""

_LEAST_SHOWN: Final = 3
"""Characters of a longer name that tell it from others well enough."""


def is_open(shape: str) -> bool:
    """Return whether any part of the word is left open."""
    return WILD in shape


def could_be(shape: str, name: str) -> bool:
    """Return whether a word could become `name`.

    A word that shows too little (`*`, `a*`, `*.json`) could become anything, and is not taken to: else every
    `*` would be every name. An open first part does not stand for a leading dot, as in a shell, but may be
    empty.
    """
    if WILD not in shape:
        return shape == name
    shown = shape.replace(WILD, "")
    if not shown.startswith(".") and len(shown) < min(_LEAST_SHOWN, len(name)):
        return False
    if not shape.startswith(WILD):
        return fits(shape, name)
    rest = shape.lstrip(WILD)
    if name.startswith("."):
        return rest.startswith(".") and could_be(rest, name)
    only_ending = rest.startswith(".") and rest.count(".") == 1
    return fits(shape, name) and (name.startswith(ANY_NAME) or not only_ending)


def fits(pattern: str, text: str) -> bool:
    """Return whether `text` is `pattern` with every open part filled; linear in both."""
    first, *rest = pattern.split(WILD)
    if not rest:
        return pattern == text
    last = rest.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    spot, end = len(first), len(text) - len(last)
    for piece in rest:
        found = text.find(piece, spot, end)
        if found < 0:
            return False
        spot = found + len(piece)
    return True
