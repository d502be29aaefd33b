"""What a user asks for: a text, and files attached to it."""

from __future__ import annotations

from dataclasses import dataclass

from hyperguild.domain.fencing import nonce_of, section
from hyperguild.domain.messages import Image
from hyperguild.domain.text import one_line

NAME_CHARS = 500
"""Of a file's name in the prompt."""


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
        """Return the text first, unchanged, then each file, named, between tags that no file can imitate.

        The same task gives the same text: a run that goes on, or is run again, is recognised by it.
        """
        if not self.files:
            return self.text
        nonce = nonce_of([self.text, *(part for file in self.files for part in (file.name, file.text))])
        files = [
            f"File: {one_line(file.name, NAME_CHARS)}\n{section('file', file.text, nonce)}"
            for file in self.files
        ]
        return "\n\n".join([self.text, *files] if self.text else files)
