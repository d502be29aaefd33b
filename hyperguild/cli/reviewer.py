"""Who it is that labels."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from hyperguild.domain.text import one_line
from hyperguild.errors import UsageError

MOST_CHARS = 64


def reviewer_of(named: str | None, env: Mapping[str, str]) -> str:
    """Return the reviewer's name: as given, else `$HYPERGUILD_REVIEWER`, else that of the login.

    Raises `UsageError` for a name that is none: empty, of more than 64 characters, or with some that are not
    shown.
    """
    name = named if named is not None else env.get("HYPERGUILD_REVIEWER") or _login(env)
    if not name.strip() or one_line(name, MOST_CHARS) != name:
        raise UsageError(
            f"{one_line(name, MOST_CHARS)!r} is no name for a reviewer",
            hint=f"up to {MOST_CHARS} characters on one line, with --as or $HYPERGUILD_REVIEWER",
        )
    return name


def _login(env: Mapping[str, str]) -> str:
    known = env.get("LOGNAME") or env.get("USER")
    if known:
        return known
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
