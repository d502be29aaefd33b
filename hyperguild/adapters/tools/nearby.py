"""What to say of a path that does not exist, so that a model finds the one it means."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading

from hyperguild.adapters.tools.beneath import listable
from hyperguild.adapters.tools.roots import Found, no_protection, shown_path
from hyperguild.adapters.tools.tree import Tree
from hyperguild.domain.text import nearest
from hyperguild.domain.tools import ToolError

NAMES_SHOWN_MAX = 20
ENTRIES_SEARCHED_MAX = 5_000


def missing(found: Found) -> ToolError:
    """Return the error for a path that does not exist: what it may mean, or else what is there.

    Raises `OSError` where the folder that is there cannot be listed.
    """
    resolved, place = found.resolved, found.place
    here = place.parts[: len(place.parts) - len(place.missing)]
    wanted = place.missing[0]
    descriptor = listable(place.folder)
    try:
        names = sorted(os.listdir(descriptor))  # noqa: PTH208  # of a descriptor
    finally:
        os.close(descriptor)
    near = nearest(wanted, names)
    likely = _same_name_below(found) if near is None else ["/".join((*here, near, *place.missing[1:]))]
    head = f"{resolved.shown} does not exist"
    if likely:
        return ToolError(f"{head}; did you mean {' or '.join(resolved.root.shown(path) for path in likely)}?")
    folder = resolved.root.shown("/".join(here) or ".")
    if not names:
        return ToolError(f"{head}; {folder} is empty")
    more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
    return ToolError(f"{head}; {folder} holds: {', '.join(map(shown_path, names[:NAMES_SHOWN_MAX]))}{more}")


def _same_name_below(found: Found) -> list[str]:
    """Return up to three files of the wanted name below the folder that exists."""
    tree = Tree(no_protection, threading.Event(), entries_max=ENTRIES_SEARCHED_MAX)
    wanted = found.place.parts[-1]
    with contextlib.closing(tree.files(found)) as files:
        return [entry.relative for entry in itertools.islice((e for e in files if e.name == wanted), 3)]
