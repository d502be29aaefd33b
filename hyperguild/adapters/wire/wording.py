"""Makes text that came from elsewhere fit to be shown in one line of an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

MESSAGE_MAX_CHARS = 500
"""No error message is longer: it stands in one line on a terminal, and in every log."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_SECRET_MIN_CHARS = 4


def one_line(text: str, *, limit: int = MESSAGE_MAX_CHARS, secrets: Iterable[str] = ()) -> str:
    """Return the text in one line of at most `limit` characters.

    Secrets become `[key]`, terminal escapes vanish, control characters and runs of white space become one
    space, and what is too long ends in an ellipsis. Secrets of fewer than 4 characters are left alone:
    replacing them would only mangle the text.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN_CHARS:
            text = text.replace(secret, "[key]")
    text = _ESCAPE_SEQUENCE.sub(" ", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def shown_url(url: str) -> str:
    """Return the URL without user name, password, query and fragment: those can hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def tail(text: str, limit: int) -> str:
    """Return the end of a text: programs say last why they failed."""
    text = text.strip()
    return text if len(text) <= limit else "…" + text[-(limit - 1) :]
