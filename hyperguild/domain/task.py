"""What a user asks for: a text, and files attached to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hyperguild.domain.messages import Image

_BACKTICKS = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A text file as it is put into the prompt, under the name the user gave it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """The task as it was given, and what was attached to it."""

    text: str
    files: tuple[AttachedFile, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for: no text, and no image; empty files count for nothing."""
        texts = (self.text, *(file.text for file in self.files))
        return not self.images and not any(text.strip() for text in texts)

    def rendered(self) -> str:
        """Return the text first, unchanged, then each file, named and fenced."""
        parts = [self.text, *(_fenced(file) for file in self.files)]
        return "\n\n".join(part for part in parts if part)


def _fenced(file: AttachedFile) -> str:
    """Fence with one backtick more than the file holds in a row, so that the file cannot close it."""
    longest = max((len(run) for run in _BACKTICKS.findall(file.text)), default=2)
    fence = "`" * (longest + 1)
    body = file.text if file.text.endswith("\n") else file.text + "\n"
    return f"File: {file.name}\n{fence}\n{body}{fence}"
