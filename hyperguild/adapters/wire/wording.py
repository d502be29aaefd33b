"""Makes text that came from elsewhere fit to be shown in one line of an error."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from hyperguild.domain.text import one_line as text_in_one_line

MESSAGE_MAX_CHARS = 500
"""No error message is longer: it stands in one line on a terminal, and in every log."""

_SECRET_MIN_CHARS = 4


def one_line(text: str, *, limit: int = MESSAGE_MAX_CHARS, secrets: Iterable[str] = ()) -> str:
    """Return the text in one line of at most `limit` characters.

    Secrets become `[key]`, and it is cleaned as `domain.text.one_line` does. Secrets of fewer than 4
    characters are left alone: replacing them would only mangle the text.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN_CHARS:
            text = text.replace(secret, "[key]")
    return text_in_one_line(text, limit)


def shown_url(url: str) -> str:
    """Return the URL without user name, password, query and fragment: those can hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
