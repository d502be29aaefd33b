"""Where a page ended, as opaque text that callers hand back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from hyperguild.domain.text import encodable
from hyperguild.errors import UsageError

Key = tuple[Any, ...]
"""What a listing is sorted by: texts and numbers, the same types at the same places in all of its pages."""

_LEAST, _MOST = -(2**63), 2**63 - 1


def write_cursor(listing: str, key: Key | None) -> str | None:
    """Return the text for a key of a listing: letters, digits, `-` and `_` alone; None for none."""
    if key is None:
        return None
    text = json.dumps([listing, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(listing: str, types: Sequence[type], cursor: str | None) -> Key | None:
    """Return the key that a cursor of this listing stands for, None for none. Raises `UsageError`."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, *key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _bad(cursor) from None
    fits = len(key) == len(types) and all(
        type(part) is kind and _is_storable(part) for part, kind in zip(key, types, strict=True)
    )
    if name != listing or not fits:
        raise _bad(cursor)
    return tuple(key)


def _is_storable(part: Any) -> bool:
    """Tell whether SQLite takes it: JSON has numbers and surrogates that it does not."""
    return _LEAST <= part <= _MOST if isinstance(part, int) else encodable(part) == part


def _bad(cursor: str) -> UsageError:
    return UsageError(
        f"{cursor[:80]!r} is not where a page of this listing ended",
        hint="hand back the `after` of the page before, as it was, with the same filters",
    )
