"""Puts secrets back where a run that goes on would send their placeholders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hyperguild.domain.secrets import LITERAL, Scrubber, placeholders_in


class Restorer:
    """Restores what the log scrubbed; `missing` names the secrets that could not be had.

    What looked like a placeholder before it was scrubbed (`literal`) stays as it is: a file that spells
    `[secret:NAME]` must not be able to fetch the key of that name.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._seen: dict[str, bool] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the secrets that could not be restored, in the order in which they were met."""
        return tuple(name for name, restored in self._seen.items() if not restored)

    def value(self, value: Any, literal: Collection[str] = ()) -> Any:
        """Return a JSON value with its secrets in place."""
        names = [name for name in placeholders_in(value) if name not in literal]
        restored = self._restore(value, names) if names else value
        left = placeholders_in(restored)
        for name in names:
            self._seen[name] = self._seen.get(name, True) and name not in left
        return restored

    def message(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a stored message with its secrets in place, less its reasoning, which is never sent."""
        sent = {key: value for key, value in record.items() if key not in {"reasoning", LITERAL}}
        restored: dict[str, Any] = self.value(sent, record.get(LITERAL, ()))
        return restored

    def quotation(self, text: str) -> str:
        """Return what a model or verifier said, with those secrets in place that the prompt had as well.

        Others are missing: the log does not tell whether a model made the placeholder up.
        """
        names = placeholders_in(text)
        for name in names:
            self._seen.setdefault(name, False)
        return self._scrubber.restore(text, [name for name in names if self._seen[name]])

    def _restore(self, value: Any, names: Collection[str]) -> Any:
        if isinstance(value, str):
            return self._scrubber.restore(value, names)
        if isinstance(value, Mapping):
            return {key: self._restore(item, names) for key, item in value.items()}
        return [self._restore(item, names) for item in value] if isinstance(value, list | tuple) else value
