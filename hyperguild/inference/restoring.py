"""Puts secrets back in the place of placeholders, in text that comes piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from hyperguild.errors import ProtocolError
from hyperguild.inference.collect import ANSWER_MAX_CHARS

_UNDERSCORE = r"\\{0,2}_"
"""Models escape underscores in Markdown, and that once more in JSON."""


class Restorer:
    """One stream of text. It holds back only what may still become a placeholder.

    `originals` is not empty: what stands in each placeholder's place. `in_json`: the text is JSON, and a
    placeholder stands in one of its strings. All placeholders end in hexadecimal numbers of one length.
    Feeding raises `ProtocolError` where more is put back than an answer may have characters.
    """

    def __init__(self, originals: Mapping[str, str], *, in_json: bool = False) -> None:
        self._originals = {
            placeholder: json.dumps(secret, ensure_ascii=False)[1:-1] if in_json else secret
            for placeholder, secret in originals.items()
        }
        # By their heads: an alternative for each of many placeholders would take too long.
        self._heads = sorted({one.rpartition("_")[0] + "_" for one in self._originals}, key=len, reverse=True)
        digits = max(len(one.rpartition("_")[2]) for one in self._originals)
        heads = "|".join(map(re.escape, self._heads)).replace("_", _UNDERSCORE)
        self._pattern = re.compile(rf"(?:{heads})[0-9a-f]{{{digits}}}")
        self._first = next(iter(self._originals))[0]
        self._longest = max(len(one) + 2 * one.count("_") for one in self._originals)
        self._held = ""
        self._put_back = 0

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
        def original(match: re.Match[str]) -> str:
            secret = self._originals.get(match[0].replace("\\", ""), match[0])
            self._put_back += len(secret)
            if self._put_back > ANSWER_MAX_CHARS:
                raise ProtocolError(
                    f"the answer is longer than {ANSWER_MAX_CHARS} characters with its secrets"
                )
            return secret

        return self._pattern.sub(original, text)

    def _cut(self, text: str) -> int:
        """Return where the beginning of a placeholder stands at the end of the text; its length if none."""
        at = text.find(self._first, max(0, len(text) - self._longest + 1))
        while at >= 0:
            if self._may_become_one(text[at:].replace("\\", "")):
                return at
            at = text.find(self._first, at + 1)
        return len(text)

    def _may_become_one(self, tail: str) -> bool:
        if any(head.startswith(tail) for head in self._heads):
            return True
        return tail.startswith(tuple(self._heads)) and any(
            len(one) > len(tail) and one.startswith(tail) for one in self._originals
        )
