"""Reads what an error body says, in every shape that servers send."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a server says is wrong. `kind` is its `type`, `code` its code, both lower case, "" where absent.

    `status` is an HTTP status named in the body; `prompt_tokens` and `window` are llama.cpp's figures.
    """

    text: str = ""
    kind: str = ""
    code: str = ""
    status: int | None = None
    prompt_tokens: int | None = None
    window: int | None = None

    def names(self, *names: str) -> bool:
        """Return whether its type or code is one of these."""
        return self.kind in names or self.code in names

    def says(self, *phrases: str) -> bool:
        """Return whether its text holds one of these, given in lower case."""
        text = self.text.lower()
        return any(phrase in text for phrase in phrases)


def read_complaint(body: bytes) -> Complaint:
    """Read an error body: an error object, an error string, other JSON, HTML or plain text. Never raises."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Complaint(text=_page_title(text) if text.startswith("<") else _without_prefix(text))
    return complaint_of(value)


def complaint_of(value: object) -> Complaint:
    """Read an error that is JSON already."""
    if isinstance(value, list) and value:  # Google's OpenAI-compatible API wraps its error in a list
        value = value[0]
    if not isinstance(value, dict):
        return Complaint(text=_as_text(value))
    error = value.get("error")
    if isinstance(error, dict):
        return _from_object(error)
    if error:
        return Complaint(text=_without_prefix(_as_text(error)))
    said = value.get("message") or value.get("detail")
    if said is None:
        return Complaint(text=_as_text(value))
    return _from_object({**value, "message": said})


def is_error(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON object, of a stream or a whole answer, is an error."""
    return bool(value.get("error")) or value.get("object") == "error" or value.get("type") == "error"


def _from_object(error: Mapping[str, Any]) -> Complaint:
    code = error.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        number = int(code)
    return Complaint(
        text=_as_text(error.get("message") or error),
        kind=_name(error.get("type")),
        code=_name(code),
        status=number if number is not None and 400 <= number <= 599 else None,
        prompt_tokens=_figure(error.get("n_prompt_tokens")),
        window=_figure(error.get("n_ctx")),
    )


def _without_prefix(text: str) -> str:
    return text.removeprefix("llama-swap: ").strip()


def _name(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def _figure(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _page_title(page: str) -> str:
    title = _TITLE.search(page)
    return f"an HTML page: {title[1].strip()}" if title else "an HTML page"
