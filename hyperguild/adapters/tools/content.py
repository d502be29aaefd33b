"""What is in a file: its bytes, whether they are text, and the text as a model sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hyperguild.adapters.tools.beneath import open_regular
from hyperguild.adapters.tools.nearby import missing
from hyperguild.adapters.tools.roots import Found
from hyperguild.domain.tools import ToolError

CONTENT_BYTES_MAX = 32 * 1024 * 1024
"""What is read of one file at most."""

BINARY_SNIFF_BYTES = 8_192
"""A NUL among the first bytes makes a file binary: the rule of git and grep."""

UTF8_BOM = b"\xef\xbb\xbf"

_FORMATS = (
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document that is one"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xff\xfe", "perhaps text in UTF-16"),
    (b"\xfe\xff", "perhaps text in UTF-16"),
)


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of a file was seen."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Version:
        """Return the version that a status shows."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Content:
    """The head of a file, up to a limit; `size` is that of the whole file, in bytes."""

    data: bytes
    size: int
    version: Version

    @property
    def is_whole(self) -> bool:
        """Whether the data are all of the file."""
        return len(self.data) >= self.size


def content_of(found: Found, limit: int = CONTENT_BYTES_MAX) -> Content:
    """Read at most `limit` bytes of the file found.

    Raises `ToolError` where nothing is there or it is a folder; `WayError` where it is a special file;
    `OSError`.
    """
    if found.place.status is None:
        raise missing(found)
    if found.place.is_folder:
        raise ToolError(f"{found.resolved.shown} is a folder, not a file; fs_ls lists it")
    return content_at(found.place.parts[-1], found.place.folder, limit)


def content_at(name: str, folder: int, limit: int) -> Content:
    """Read at most `limit` bytes of a file in an open folder. Raises `WayError` (not regular), `OSError`."""
    with os.fdopen(open_regular(name, folder), "rb") as file:
        status = os.fstat(file.fileno())
        return Content(file.read(limit), status.st_size, Version.of(status))


def is_binary(data: bytes) -> bool:
    """Return whether bytes are no text."""
    return b"\0" in data[:BINARY_SNIFF_BYTES] or data.startswith((b"%PDF-", b"\x1f\x8b", b"\xff\xd8\xff"))


def refuse_binary(content: Content, shown: str) -> None:
    """Raise `ToolError` where the content is no text, with what it seems to be."""
    if is_binary(content.data):
        kind = next((name for magic, name in _FORMATS if content.data.startswith(magic)), "binary data")
        raise ToolError(f"{shown} is not text: {kind}, {content.size:,} bytes")


def text_of(data: bytes) -> tuple[str, bool]:
    """Return bytes as text, and whether all of them are UTF-8.

    A byte-order mark is dropped, CRLF becomes a line feed, invalid bytes become U+FFFD.
    """
    data = data.removeprefix(UTF8_BOM)
    try:
        text, valid = data.decode("utf-8"), True
    except UnicodeDecodeError:
        text, valid = data.decode("utf-8", "replace"), False
    return text.replace("\r\n", "\n"), valid


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, by line feeds alone; a last line feed ends a line and begins none."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
