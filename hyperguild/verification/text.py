"""Text of programs and models made fit for feedback, logs and terminals; code fences."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"  # CSI, OSC, the short ones
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # and what reorders text
_FENCE_LINE = re.compile(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)")


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and UTF-8 cannot, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cleaned(text: str) -> str:
    """Drop terminal escape sequences and control characters; keep tabs, make every line end a newline."""
    text = _ESCAPE_SEQUENCE.sub("", encodable(text))
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def clipped(text: str, limit: int) -> str:
    """Return at most `limit` characters: where there are more, the head and `…`."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def clipped_tail(text: str, limit: int) -> str:
    """Return at most `limit` characters: where there are more, `…` and the tail."""
    return text if len(text) <= limit else "…" + text[len(text) - limit + 1 :].lstrip()


def less_code_fence(text: str) -> str:
    """Return what one Markdown code fence around the whole text holds; without one, the text as it is.

    White space around the fence does not matter; anything else around it means that there is no such fence.
    """
    lines = text.strip().split("\n")
    opening = _FENCE_LINE.fullmatch(lines[0].rstrip())
    if opening is None or len(lines) < 2 or lines[-1].strip() != opening["mark"]:
        return text
    return "\n".join(lines[1:-1])


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """A fenced block of Markdown: the first word of its info string in lower case, and its text."""

    language: str
    text: str


def fenced_blocks(markdown: str) -> list[FencedBlock]:
    """Return the fenced code blocks, as CommonMark reads them, however far a fence is indented.

    A block ends with a fence of the same character, at least as long and alone on its line, or with the text.
    """
    blocks: list[FencedBlock] = []
    lines = iter(markdown.replace("\r\n", "\n").split("\n"))
    for line in lines:
        opening = _FENCE_LINE.fullmatch(line)
        if opening is None:
            continue
        body: list[str] = []
        for inner in lines:
            if _closes(inner.strip(), opening["mark"]):
                break
            body.append(_outdented(inner, len(opening["indent"])))
        words = opening["info"].split()
        blocks.append(FencedBlock(words[0].lower() if words else "", "\n".join([*body, ""])))
    return blocks


def _closes(line: str, mark: str) -> bool:
    return len(line) >= len(mark) and set(line) == {mark[0]}


def _outdented(line: str, width: int) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, width) :]
