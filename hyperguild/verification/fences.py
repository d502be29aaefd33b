"""Code fences in Markdown: the block around a whole text, and the blocks within one."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE_LINE = re.compile(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)")


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
