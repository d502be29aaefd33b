"""The problems of one chains.yaml, collected while it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hyperguild.config.marks import Document, Place
from hyperguild.config.wording import DocumentPath, PathPart, shown_path
from hyperguild.errors import ConfigError, Problem

_MISSING = object()


class Report:
    """Problems, and which parts of the document they make unusable.

    What is unusable is *dropped*: `usable()` leaves it out, so that the rest is checked all the same and one
    reading reports everything. Paths given to `add`, `drop_all` and `is_damaged` are those of the document
    after dropping, with short forms written out (`chains.default.tiers.0`); they are translated to what was
    written.
    """

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._problems: list[Problem] = []
        self._dropped: set[DocumentPath] = set()
        for fault in document.faults:
            self._append(fault.place, fault.path, fault.message)
            if fault.spoils_value:
                self._dropped.add(fault.path)

    def add(self, path: DocumentPath, message: str, *, at_key: bool = False) -> None:
        """Note a problem at the value of the path, or at its key; not again where something is damaged."""
        written = self.written(path)
        if not self._is_damaged(written):
            self._append(self._document.place(written, key=at_key), written, message)

    def drop_all(self, paths: Iterable[DocumentPath]) -> None:
        """Leave the values at the paths out from now on. The indices after them move: so all at once."""
        self._dropped.update([self.written(path) for path in paths])

    def is_damaged(self, path: DocumentPath) -> bool:
        """Tell whether something at, above or below the path was dropped."""
        return self._is_damaged(self.written(path))

    def names(self, section: str) -> set[str]:
        """Return every name that the document gives in a section, those of refused entries included."""
        entries = self._document.data.get(section) if isinstance(self._document.data, dict) else None
        return set(entries) if isinstance(entries, dict) else set()

    def usable(self) -> Any:
        """Return a copy of the data without what was dropped."""
        return self._kept(self._document.data, ())

    @property
    def has_problems(self) -> bool:
        """Whether the file is refused."""
        return bool(self._problems)

    def refusal(self) -> ConfigError:
        """Return the error that carries the problems, in the order of the file."""
        problems = sorted(
            set(self._problems), key=lambda problem: (problem.line, problem.column, problem.path)
        )
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        return ConfigError(f"{self._file} is refused: {count}", problems=problems)

    def written(self, path: DocumentPath) -> DocumentPath:
        """Translate a path to the document's own: indices as written, no keys that are only implied."""
        here: DocumentPath = ()
        node = self._document.data
        for part in path:
            if isinstance(node, dict):
                here, node = (*here, part), node.get(part, _MISSING)
            elif isinstance(node, list) and isinstance(part, int):
                kept = [index for index in range(len(node)) if (*here, index) not in self._dropped]
                real = kept[part] if part < len(kept) else part
                here, node = (*here, real), node[real] if real < len(node) else _MISSING
            elif node is _MISSING:
                here = (*here, part)
        return here

    def _is_damaged(self, written: DocumentPath) -> bool:
        size = len(written)
        return any(written[: len(lost)] == lost or lost[:size] == written for lost in self._dropped)

    def _kept(self, node: Any, here: tuple[PathPart, ...]) -> Any:
        if isinstance(node, dict):
            pairs = ((key, (*here, key), value) for key, value in node.items())
            return {key: self._kept(value, path) for key, path, value in pairs if path not in self._dropped}
        if isinstance(node, list):
            items = (((*here, index), value) for index, value in enumerate(node))
            return [self._kept(value, path) for path, value in items if path not in self._dropped]
        return node

    def _append(self, place: Place, written: DocumentPath, message: str) -> None:
        self._problems.append(Problem(self._file, place.line, place.column, shown_path(written), message))
