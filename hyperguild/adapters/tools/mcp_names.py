"""Names under which the tools of MCP servers are offered. Pure, but for remembering what it gave."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable

NAME_MAX_CHARS = 64
"""OpenAI's limit; Anthropic's is 128."""

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_MARK_DIGITS = 8

Source = tuple[str, str]
"""A server's name and its own name for a tool."""


class ToolNames:
    """Gives each tool a name, `SERVER_tool`, once and for good.

    Characters that providers refuse become `_`, and what is too long is cut. Where several tools would get
    one name, or it is among the `taken` ones, those that were changed to get it carry a mark drawn from their
    own names; all carry it where none or several were unchanged. A name once given is never given to another
    tool, so that what a user has allowed cannot come to mean something else.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = frozenset(taken)
        self._given: dict[Source, str] = {}

    def assign(self, sources: Iterable[Source]) -> dict[Source, str]:
        """Return the name of each tool; independent of their order."""
        wanted = sorted(set(sources))
        fresh = [source for source in wanted if source not in self._given]
        plain = {source: _plain(source) for source in fresh}
        sharing = Counter(plain.values())
        unchanged = Counter(name for source, name in plain.items() if name == _full(source))
        used = self._taken | set(self._given.values())
        for source, name in plain.items():
            alone = sharing[name] == 1 or (name == _full(source) and unchanged[name] == 1)
            self._given[source] = name if alone and name not in used else _marked(source, name)
        return {source: self._given[source] for source in wanted}


def _full(source: Source) -> str:
    return "_".join(source)


def _plain(source: Source) -> str:
    name = _UNFIT.sub("_", _full(source))
    return name if len(name) <= NAME_MAX_CHARS else _marked(source, name)


def _marked(source: Source, name: str) -> str:
    mark = hashlib.sha256("\0".join(source).encode("utf-8", "replace")).hexdigest()[:_MARK_DIGITS]
    return f"{name[: NAME_MAX_CHARS - _MARK_DIGITS - 1]}_{mark}"
