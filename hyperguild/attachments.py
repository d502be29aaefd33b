"""Reads what is attached to a task: text files and images."""

from __future__ import annotations

import base64
from pathlib import Path

from hyperguild.domain.messages import Image
from hyperguild.domain.task import AttachedFile
from hyperguild.errors import UsageError

MAX_FILE_BYTES = 20 * 1024 * 1024
"""Larger than any model's window by far; a mistake such as attaching a core dump stops here."""

IMAGE_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""How image files begin, for the types that both wire protocols take. WebP is told by its RIFF header."""


def read_attachment(name: str) -> AttachedFile | Image:
    """Return the file at a path, under that path as it was given, or the image that it is.

    Raises `UsageError` where it cannot be read, is too large, or is neither text nor an image.
    """
    path = Path(name)
    try:
        with path.open("rb") as file:  # not by its size: that of a device or a pipe is 0
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror or exc}") from exc
    return attachment(name, data)


def attachment(name: str, data: bytes) -> AttachedFile | Image:
    """Return what the bytes are: an image, else a text file of that name. Raises `UsageError`."""
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(name)
    return image(data) or AttachedFile(name, text_of(name, data))


def image(data: bytes) -> Image | None:
    """Return the image that these bytes are; None where they are none that models take."""
    media_type = _image_type(data)
    return None if media_type is None else Image(media_type, base64.b64encode(data).decode("ascii"))


def text_of(name: str, data: bytes) -> str:
    """Return the text that these bytes are, less a byte order mark. Raises `UsageError`, with the name."""
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"{name} is neither UTF-8 text nor a PNG, JPEG, GIF or WebP image (byte {exc.start})"
        ) from exc


def _too_large(name: str) -> UsageError:
    return UsageError(
        f"{name} is larger than {MAX_FILE_BYTES // 2**20} MiB", hint="give the part that matters"
    )


def _image_type(data: bytes) -> str | None:
    for magic, media_type in IMAGE_MAGIC.items():
        if data.startswith(magic):
            return media_type
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
