"""Puts secrets back in the place of placeholders, in text that comes piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping


class Restorer:
    """One stream of text. It holds back only what may still become a placeholder.

    `originals` is not empty: what stands in each placeholder's place. `in_json`: the text is JSON, and a
    placeholder stands in one of its strings.
    """

    def __init__(self, originals: Mapping[str, str], *, in_json: bool = False) -> None:
        self._originals = {
            placeholder: json.dumps(secret, ensure_ascii=False)[1:-1] if in_json else secret
            for placeholder, secret in originals.items()
        }
        self._pattern = re.compile("|".join(map(re.escape, self._originals)))
        self._first = next(iter(self._originals))[0]
        self._longest = max(map(len, self._originals))
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; return what is certain by now, which may be nothing."""
        text = self._held + text
        cut = self._cut(text)
        text, self._held = text[:cut], text[cut:]
        return self._restored(text)

    def flush(self) -> str:
        """Return what was held back: no more comes."""
        text, self._held = self._held, ""
        return text

    def whole(self, text: str) -> str:
        """Return a text that is complete with its secrets put back."""
        return self._restored(text)

    def _restored(self, text: str) -> str:
        return self._pattern.sub(lambda match: self._originals[match[0]], text)

    def _cut(self, text: str) -> int:
        """Return where the beginning of a placeholder stands at the end of the text; its length if none."""
        at = text.find(self._first, max(0, len(text) - self._longest + 1))
        while at >= 0:
            if any(placeholder.startswith(text[at:]) for placeholder in self._originals):
                return at
            at = text.find(self._first, at + 1)
        return len(text)
